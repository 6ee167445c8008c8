// Tells the viewers in this page's frames whether it is light or dark. From disk they cannot look for themselves: there every
// file is an origin of its own.
(() => {
  "use strict";
  const tell = (frame) =>
    frame.contentWindow?.postMessage({ theme: document.documentElement.dataset.theme ?? "auto" }, "*");
  const tellAll = () => {
    for (const frame of document.querySelectorAll(".viewer-frame iframe")) tell(frame);
  };
  // A frame's load event does not bubble, but it can be caught on its way down; lazy frames load long after this script.
  document.addEventListener(
    "load",
    ({ target }) => {
      if (target instanceof HTMLIFrameElement && target.closest(".viewer-frame")) tell(target);
    },
    true,
  );
  new MutationObserver(tellAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  tellAll();
})();
