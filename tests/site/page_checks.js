// Questions that the browser test asks a page. Evaluated as one expression: an object of functions.
({
  // Walk down the page as a reader does, so that whatever waits for the viewport is fetched.
  async walk() {
    const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    for (let y = 0; y < document.documentElement.scrollHeight; y += 0.8 * innerHeight) {
      scrollTo(0, y);
      await frames();
    }
    // A reader who stops at a picture sees it; the walk may have passed a lazy one too fast for its fetch to begin.
    const missing = [], limit = () => new Promise((done) => setTimeout(done, 20000));
    for (const image of [...document.images].filter((image) => image.getClientRects().length && !image.complete)) {
      image.scrollIntoView();
      await Promise.race([new Promise((done) => { image.onload = image.onerror = done; }), limit()]);
      if (!image.complete) missing.push(`${image.src.slice(0, 120)} does not come within 20 s`);
    }
    scrollTo(0, 0);
    return missing;
  },

  // The theme’s own switch sets these two attributes. Its scripts answer to a new width after 300 ms.
  async wear(theme) {
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    await new Promise((done) => setTimeout(done, 450));
  },

  near: (selector, distance) => [...document.querySelectorAll(selector)]
    .filter((node) => node.getBoundingClientRect().top < innerHeight + distance).length,

  // How many pieces of the article show something: what a reader without scripts must see as well.
  pieces: () => [...document.querySelectorAll("article :is(p, li, td, th, pre, h1, h2, h3, h4, figcaption)")]
    .filter((node) => node.checkVisibility() && node.innerText.trim()).length,

  brokenPictures: () => [...document.images].flatMap((image) => {
    const { naturalWidth, naturalHeight, clientWidth, clientHeight } = image, name = image.src.slice(0, 120);
    if (image.complete && !naturalWidth) return [`${name} is no picture`];
    const stretch = (clientWidth * naturalHeight) / (clientHeight * naturalWidth);
    const asIs = !clientWidth || getComputedStyle(image).objectFit !== "fill" || clientWidth < 40;
    return asIs || Math.abs(stretch - 1) < 0.05 ? [] : [`${name} is stretched ${stretch.toFixed(2)} times`];
  }),

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
    const scrolls = (from) => {
      for (let box = from; box && box !== document.body; box = box.parentElement)
        if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return true;
      return false;
    };
    const judge = (around, box, name) => {
      if (box.right <= page + 1 || box.width < 2 || box.height < 2) return;
      if (around.closest("svg, mjx-assistive-mml, .plotly-target, .visually-hidden") || scrolls(around)) return;
      found.push(`${name} ends at ${Math.round(box.right)} px`);
    };
    const article = document.querySelector(".bd-article-container"), words = document.createRange();
    for (const node of article.querySelectorAll("*"))
      judge(node.parentElement, node.getBoundingClientRect(), `${node.localName}.${node.className}`);
    const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      words.selectNodeContents(texts.currentNode);
      judge(texts.currentNode.parentElement, words.getBoundingClientRect(), `“${texts.currentNode.textContent.slice(0, 40)}”`);
    }
    return found.slice(0, 5);
  },

  // Contrast takes nearly all the time of axe. Tokens of one kind look alike in all code and signatures, so the first of each
  // stands for the others (axe passes over hidden text), and ten entries for all of a page of the reference.
  async axe() {
    const seen = new Set(), alike = [];
    for (const token of document.querySelectorAll(".highlight span[class], .sig span[class]")) {
      if (token.closest("a") || token.querySelector("a")) continue;
      const kind = `${token.className} ${token.parentElement.className} ${token.closest("[class*=highlight-]")?.className}`;
      if (seen.has(kind)) alike.push(token);
      seen.add(kind);
    }
    // preload would fetch the theme's style sheets anew, from the wrong folder.
    const options = { resultTypes: ["violations"], preload: false };
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
    const rest = await axe.run(document, { ...options, runOnly: tags, rules: { "color-contrast": { enabled: false } } });
    for (const token of alike) token.setAttribute("aria-hidden", "true");
    const entries = [...document.querySelectorAll("dl.py")].slice(10);
    const contrast = await axe.run({ exclude: entries }, { ...options, runOnly: { type: "rule", values: ["color-contrast"] } });
    for (const token of alike) token.removeAttribute("aria-hidden");
    return [...rest.violations, ...contrast.violations].flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id} at ${target.join(" ")}: ${failureSummary.split("\n").slice(1, 2).join(" ").trim()}`));
  },
})
