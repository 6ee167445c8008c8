// Questions that the browser test asks a page. Evaluated as one expression: an object of functions.
({
  // Walk down the page as a reader does, so that whatever waits for the viewport is fetched.
  async walk() {
    const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    for (let y = 0; y < document.documentElement.scrollHeight; y += 0.8 * innerHeight) {
      scrollTo(0, y);
      await frames();
    }
    scrollTo(0, 0);
    const waiting = [...document.images].filter((image) => image.getClientRects().length && !image.complete);
    await Promise.all(waiting.map((image) => new Promise((done) => { image.onload = image.onerror = done; })));
  },

  // The theme's own switch sets these two attributes.
  async wear(theme) {
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    await new Promise((done) => setTimeout(done, 250));
  },

  brokenPictures: () => [...document.images].filter((image) => image.complete && !image.naturalWidth).map((image) => image.src.slice(0, 120)),

  // Every figure that shows, with its rectangle on the page in CSS pixels.
  figures() {
    const kinds = { ".plotly-target": "plotly figure", ".bd-article iframe": "viewer", ".bd-article canvas": "canvas",
      ".bd-article .cell_output img, .bd-article figure img": "picture" };
    return Object.entries(kinds).flatMap(([selector, kind]) => [...document.querySelectorAll(selector)].flatMap((node) => {
      const { left, top, width, height } = node.getBoundingClientRect();
      const behind = node.closest(".plotly-target") !== node && node.closest(".plotly-target") || node.matches(".viewer-poster");
      if (behind || width < 40 || height < 40 || !node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return [];
      const name = node.title || node.alt || node.ariaLabel || node.id;
      return [{ kind, name: name.slice(0, 60), box: [left + scrollX, top + scrollY, width, height] }];
    }));
  },

  plotlyInks: () => [...document.querySelectorAll(".plotly-target[data-drawn]")].map((target) => target._fullLayout.font.color),

  // What sticks out to the right: the page itself, or a part that no box around it lets the reader scroll to.
  stickingOut() {
    const page = document.documentElement.clientWidth, found = [];
    if (document.documentElement.scrollWidth > page) found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
    const scrolls = (node) => {
      for (let box = node.parentElement; box && box !== document.body; box = box.parentElement)
        if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return true;
      return false;
    };
    for (const node of document.querySelectorAll(".bd-article-container *")) {
      const { right, width, height } = node.getBoundingClientRect();
      if (right <= page + 1 || width < 2 || height < 2 || node.closest("svg, mjx-assistive-mml, .plotly-target")) continue;
      if (!scrolls(node)) found.push(`${node.tagName.toLowerCase()}.${node.className} ends at ${Math.round(right)} px`);
    }
    return found.slice(0, 5);
  },

  // Tokens of one kind in code look alike everywhere, so axe judges the first of each: a third of the time for the same verdict.
  async axe() {
    const seen = new Set();
    for (const token of document.querySelectorAll(".highlight span[class]")) {
      const kind = `${token.className} ${token.closest("[class*=highlight-]")?.className} ${!!token.closest(".cell_input")}`;
      token.toggleAttribute("data-alike", seen.has(kind));
      seen.add(kind);
    }
    const found = await axe.run({ exclude: [["[data-alike]"]] }, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
      resultTypes: ["violations"],
      preload: false,  // it would fetch the theme's style sheets anew, from the wrong folder
    });
    return found.violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id} at ${target.join(" ")}: ${failureSummary.split("\n").slice(1, 2).join(" ").trim()}`));
  },
})
