// What a page needs in the browser for every reader: wide formulas that the keyboard can scroll, pictures that open in full.
(() => {
  "use strict";
  // The theme does the same for code, outputs and tables.
  const reachFormulas = () => {
    for (const formula of document.querySelectorAll("div.math")) {
      const wide = formula.scrollWidth > formula.clientWidth;
      formula.toggleAttribute("data-wide", wide);
      if (wide) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    }
  };

  // A picture shown smaller than it is becomes a link to itself.
  const openInFull = (picture) => {
    const small = picture.naturalWidth < 1.2 * picture.clientWidth, inline = picture.src.startsWith("data:");
    if (small || inline || picture.closest("a, button, label")) return;
    const link = document.createElement("a");
    link.className = "in-full";
    link.href = picture.src;
    link.title = "Open the picture in full";
    picture.replaceWith(link);
    link.append(picture);
  };

  const start = () => {
    for (const picture of document.querySelectorAll(".cell_output > img, .bd-article figure.align-default > img")) {
      if (picture.complete && picture.naturalWidth) openInFull(picture);
      else picture.addEventListener("load", () => openInFull(picture), { once: true });
    }
    const watcher = new ResizeObserver(reachFormulas);
    for (const formula of document.querySelectorAll("div.math")) watcher.observe(formula);
  };
  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();
