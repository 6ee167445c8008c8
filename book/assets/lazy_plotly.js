// Draws the page's plotly figures when they come near the viewport. plotly.min.js is fetched once, from this site.
(() => {
  "use strict";
  const library = new URL("plotly.min.js", document.currentScript.src).href;
  let loading = null;

  const run = (address) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`cannot load ${address}`));
      document.head.append(script);
    });

  const load = () => (loading ??= run(library).then(() => window.Plotly));

  // A figure's data: in the page, or in a script of its own, since a page opened from disk may not fetch.
  const specOf = async ({ dataset, textContent }) => {
    if (!dataset.file) return JSON.parse(textContent);
    await run(new URL(dataset.file, document.baseURI).href);
    return structuredClone(window.plotlySpecs[dataset.name]);
  };

  const isDark = () => document.documentElement.dataset.theme === "dark";

  // Colours that follow the page's theme; what a figure sets itself on its traces stays.
  const themed = (layout) => {
    const ink = isDark() ? "#d5dbe3" : "#1f2933";
    const grid = isDark() ? "#3a4350" : "#dde3ea";
    const change = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": ink,
      "legend.bgcolor": "rgba(0,0,0,0)",
    };
    const axis = (path) => {
      change[`${path}.gridcolor`] = grid;
      change[`${path}.zerolinecolor`] = grid;
      change[`${path}.linecolor`] = grid;
      change[`${path}.color`] = ink;
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) axis(key);
      if (/^scene\d*$/.test(key)) {
        change[`${key}.bgcolor`] = "rgba(0,0,0,0)";
        for (const letter of "xyz") {
          axis(`${key}.${letter}axis`);
          change[`${key}.${letter}axis.backgroundcolor`] = "rgba(0,0,0,0)";
        }
      }
    }
    // Plotly paints a pressed button near-white in every theme, so buttons stay light with dark text.
    (layout.updatemenus ?? []).forEach((_, index) => {
      change[`updatemenus[${index}].bgcolor`] = "#e8edf3";
      change[`updatemenus[${index}].bordercolor`] = grid;
      change[`updatemenus[${index}].font.color`] = "#1f2933";
    });
    return change;
  };

  // A 3-D figure fits its scene by height and would cut the sides where it is narrower than high: there the camera stands back.
  const stoodBack = (layout) => {
    const { l, r, t, b } = layout.margin, change = {};
    for (const key of Object.keys(layout).filter((name) => /^scene\d*$/.test(name))) {
      const { domain, camera } = layout[key];
      const width = (layout.width - l - r) * (domain.x[1] - domain.x[0]), height = (layout.height - t - b) * (domain.y[1] - domain.y[0]);
      const back = Math.max(1, (1.25 * height) / width);
      for (const axis of "xyz") change[`${key}.camera.eye.${axis}`] = back * camera.eye[axis];
    }
    return change;
  };

  // Plotly turns every wheel event over a 3-D figure into zoom. Here the wheel scrolls the page until the figure was pressed.
  const scrollPast = (target) => {
    let pressed = false;
    target.addEventListener("pointerdown", () => (pressed = true), true);
    target.addEventListener("pointerleave", () => (pressed = false));
    target.addEventListener("wheel", (event) => pressed || event.ctrlKey || event.stopPropagation(), { capture: true, passive: true });
  };

  const draw = async (wrapper) => {
    const target = wrapper.querySelector(".plotly-target");
    const [spec, Plotly] = await Promise.all([specOf(wrapper.querySelector(".plotly-spec")), load()]);
    spec.config = { responsive: true, displaylogo: false, ...spec.config };
    target.hidden = false;
    wrapper.classList.add("drawn");
    scrollPast(target);
    await Plotly.newPlot(target, spec);
    await Plotly.relayout(target, { ...themed(target._fullLayout), ...stoodBack(target._fullLayout) });
    target.dataset.drawn = "true";
  };

  const start = () => {
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          watcher.unobserve(target);
          draw(target);
        }
      },
      { rootMargin: "300px" },
    );
    for (const wrapper of document.querySelectorAll(".plotly-lazy")) watcher.observe(wrapper);

    new MutationObserver(() => {
      for (const target of document.querySelectorAll(".plotly-target[data-drawn]"))
        window.Plotly.relayout(target, themed(target._fullLayout));
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
