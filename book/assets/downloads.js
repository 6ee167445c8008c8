"use strict";
// The entries of a page's download menu save their file. From disk a browser does not allow that; there they open in a new tab.
document.querySelectorAll("a[class*='btn-download-']").forEach((link) => {
  link.download = "";
});
