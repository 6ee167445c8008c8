/* Shows a glossary entry or a reference beside the link that leads to it: on hover, on keyboard focus, on the first tap.
   Escape, leaving, or a press elsewhere closes it; the pointer may move onto it. The texts come from definitions.js, by place. */
"use strict";

(() => {
  const DELAY = 150; // milliseconds before it opens, and in which the pointer may cross the gap to it
  const MARGIN = 8; // pixels to the link and to the edges of the window
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href).href;
  const definitions = window.lrmzeroDefinitions || {};
  let tip = null;
  let owner = null;
  let timer = 0;
  let lastPointer = "mouse";

  const linkOf = event => {
    const link = event.target.closest ? event.target.closest("article a.internal[href*='#']") : null;
    return link && entryOf(link) ? link : null;
  };

  const entryOf = link => (link.href.startsWith(root) ? definitions[decodeURI(link.href.slice(root.length))] : undefined);

  const element = (name, text, parent) => {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  };

  function fill(entry) {
    tip.textContent = "";
    if (entry.heading) element("strong", entry.heading, tip);
    for (const line of entry.lines) element("p", line, tip);
    if (entry.link) {
      const link = element("a", entry.link.replace(/^https?:\/\//, ""), element("p", "", tip));
      link.href = entry.link;
      link.tabIndex = -1; // the keyboard reaches it through the list of references
    }
  }

  function place(link) {
    const box = link.getClientRects()[0];
    const { offsetWidth: width, offsetHeight: height } = tip;
    const below = box.bottom + MARGIN + height <= innerHeight || box.top < height + 2 * MARGIN;
    const left = Math.min(Math.max(MARGIN, box.left), document.documentElement.clientWidth - width - MARGIN);
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(below ? box.bottom + MARGIN : box.top - height - MARGIN) + scrollY}px`;
  }

  function open(link) {
    clearTimeout(timer);
    if (owner === link) return;
    close();
    if (!tip) {
      tip = element("div", "", document.body);
      tip.id = "definition-on-hover";
      tip.setAttribute("role", "tooltip");
      tip.addEventListener("pointerenter", () => clearTimeout(timer));
      tip.addEventListener("pointerleave", closeSoon);
    }
    fill(entryOf(link));
    owner = link;
    link.setAttribute("aria-describedby", tip.id);
    tip.hidden = false;
    place(link);
  }

  function close() {
    clearTimeout(timer);
    if (!owner) return;
    owner.removeAttribute("aria-describedby");
    owner = null;
    tip.hidden = true;
  }

  function closeSoon() {
    clearTimeout(timer);
    timer = setTimeout(close, DELAY);
  }

  document.addEventListener("pointerover", event => {
    const link = linkOf(event);
    if (!link || event.pointerType === "touch") return;
    link.removeAttribute("title"); // the browser's own hint would lie over ours
    clearTimeout(timer);
    timer = setTimeout(() => open(link), DELAY);
  });
  document.addEventListener("pointerout", event => {
    if (linkOf(event) && event.pointerType !== "touch") closeSoon();
  });
  document.addEventListener("focusin", event => {
    const link = linkOf(event);
    if (link && lastPointer !== "touch") open(link);
  });
  document.addEventListener("focusout", event => {
    if (linkOf(event) && event.target === owner) close();
  });
  document.addEventListener("pointerdown", event => {
    lastPointer = event.pointerType;
    if (owner && !linkOf(event) && !tip.contains(event.target)) close();
  });
  document.addEventListener("click", event => {
    const link = linkOf(event);
    if (!link || lastPointer !== "touch" || owner === link) return;
    event.preventDefault(); // the first tap reads, the second follows
    open(link);
  });
  document.addEventListener("keydown", event => {
    lastPointer = "keyboard";
    if (event.key === "Escape") close();
  });
})();
