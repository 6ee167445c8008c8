(() => {
  "use strict";
  const figure = document.querySelector("#ID"), strip = figure.querySelector(".ti-strip");
  const facts = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const {views, width, height, patch, columns} = facts;
  const across = width / patch, down = height / patch, count = views * across * down;
  const bytes = Uint8Array.from(atob(facts.gaussians), letter => letter.charCodeAt(0));
  const numbers = new Int16Array(bytes.buffer);
  const heat = figure.querySelector(".ti-heat img"), marks = figure.querySelector(".ti-marks");
  const slider = figure.querySelector("input"), told = figure.querySelector(".ti-told");
  heat.style.width = 100 * columns + "%";
  marks.setAttribute("viewBox", `0 0 ${views * width} ${height}`);

  // the pixel looked at, x through all views; first the most opaque one of the token to start with
  const opacityAt = (x, y) => {
    const view = Math.floor(x / width);
    return numbers[5 * ((view * height + y) * width + x - view * width) + 4];
  };
  const inView = facts.start % (across * down);
  const corner = {
    x: Math.floor(facts.start / (across * down)) * width + (inView % across) * patch,
    y: Math.floor(inView / across) * patch,
  };
  let at = corner;
  for (let k = 1; k < patch * patch; k++) {
    const next = {x: corner.x + k % patch, y: corner.y + Math.floor(k / patch)};
    if (opacityAt(next.x, next.y) > opacityAt(at.x, at.y)) at = next;
  }

  // where a camera sees a point of the world, in pixels of its view
  const seen = (view, point) => {
    const [x, y, z] = facts.viewmats[view].slice(0, 3).map(row => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
    const K = facts.Ks[view];
    return [K[0][0] * x / z + K[0][2], K[1][1] * y / z + K[1][2]];
  };
  const centre = view => {
    const [a, b, c] = facts.viewmats[view];
    return [0, 1, 2].map(k => -(a[k] * a[3] + b[k] * b[3] + c[k] * c[3]));
  };

  const update = () => {
    const view = Math.floor(at.x / width), column = at.x - view * width, layer = slider.value - 1;
    const token = (view * down + Math.floor(at.y / patch)) * across + Math.floor(column / patch);
    const cell = layer * count + token;
    heat.style.left = -100 * (cell % columns) + "%";
    heat.style.top = -100 * Math.floor(cell / columns) + "%";
    const first = 5 * ((view * height + at.y) * width + column);
    const [x, y, z, scale, opacity] = numbers.slice(first, first + 5);
    const point = [x, y, z].map(value => value / 1e4), from = centre(view);
    const far = Math.hypot(...point.map((value, k) => value - from[k]));
    const left = Math.floor(at.x / patch) * patch, top = Math.floor(at.y / patch) * patch;
    let drawn = `<rect x="${left}" y="${top}" width="${patch}" height="${patch}" fill="none" stroke="#0072b2" stroke-width="1"/>`;
    for (let other = 0; other < views; other++) {
      const [u, v] = seen(other, point);
      const style = opacity > 1000 ? "" : ` stroke-dasharray="1 1"`;
      if (u > 0 && u < width && v > 0 && v < height)
        drawn += `<circle cx="${other * width + u}" cy="${v}" r="2.4" fill="none" stroke="#fff" stroke-width="1.6"/>` +
          `<circle cx="${other * width + u}" cy="${v}" r="2.4" fill="none" stroke="#000" stroke-width=".8"${style}/>`;
    }
    marks.innerHTML = drawn;
    figure.querySelector("output").textContent = slider.value;
    told.textContent = `View ${view}, pixel (${column}, ${at.y}): token ${token} of ${count}. In layer ${layer + 1}, ` +
      `${Math.round(100 * facts.own[layer][token])} % of its attention stays in its own view. The pixel's Gaussian: ` +
      `distance ${far.toFixed(2)}, centre (${point.map(value => value.toFixed(2)).join(", ")}), ` +
      `largest scale ${(scale / 1e4).toFixed(3)}, opacity ${(opacity / 1e4).toFixed(2)}` +
      (opacity > 1000 ? "." : ", too faint to matter.");
  };

  const go = (x, y) => {
    at = {x: Math.min(Math.max(x, 0), views * width - 1), y: Math.min(Math.max(y, 0), height - 1)};
    update();
  };
  const point = event => {
    const box = strip.getBoundingClientRect();
    go(Math.floor((event.clientX - box.left) / box.width * views * width), Math.floor((event.clientY - box.top) / box.height * height));
  };
  strip.addEventListener("pointermove", point);
  strip.addEventListener("pointerdown", point);
  strip.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!step) return;
    event.preventDefault();
    const length = event.shiftKey ? patch : 1;
    go(at.x + step[0] * length, at.y + step[1] * length);
  });
  slider.addEventListener("input", update);
  figure.querySelector("form").addEventListener("submit", event => event.preventDefault());
  figure.querySelector("form").hidden = false;
  figure.classList.add("live");
  update();
})();
