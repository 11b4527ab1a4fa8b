"use strict";
(() => {
  const root = document.documentElement;
  const redraws = [];

  // Theme: as the system, light, dark.
  const themes = ["auto", "light", "dark"];
  const themeButton = document.getElementById("theme");
  const setTheme = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    themeButton.textContent = "Theme: " + theme;
    redraws.forEach((redraw) => redraw());
  };
  themeButton.addEventListener("click", () => {
    const now = root.dataset.theme || "auto";
    setTheme(themes[(themes.indexOf(now) + 1) % themes.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((redraw) => redraw()));

  // On paper everything is open, and light.
  let closed = [];
  let themeBefore = null;
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((d) => { d.open = true; });
    themeBefore = root.dataset.theme || "auto";
    setTheme("light");
  });
  addEventListener("afterprint", () => {
    closed.forEach((d) => { d.open = false; });
    if (themeBefore !== null) setTheme(themeBefore);
  });

  const source = document.getElementById("map-data");
  if (source) drawMap(JSON.parse(source.textContent));

  function drawMap(data) {
    const figure = document.getElementById("map-figure");
    const canvas = figure.querySelector("canvas");
    const tip = figure.querySelector(".tip");
    const status = figure.querySelector(".status");
    const keys = figure.querySelector(".keys");
    const colourSelect = document.getElementById("map-colour");
    const layoutSelect = document.getElementById("map-layout");
    const context = canvas.getContext("2d");
    const n = data.x.neighbours.length;
    const hint = status.textContent;
    const view = { zoom: 1, x: 0.5, y: 0.5 };
    let emphasised = -1;
    let current = -1;
    let size = { width: 0, height: 0 };

    data.colours.forEach((colour, i) => colourSelect.add(new Option(colour.name, String(i))));

    const chosen = () => data.colours[Number(colourSelect.value)];
    const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
    const shapeOf = (code) => Math.floor(code / 8) % 3;

    function place(i) {
      const layout = layoutSelect.value;
      const side = Math.min(size.width, size.height) * 0.94 * view.zoom;
      return [
        size.width / 2 + (data.x[layout][i] / 999 - view.x) * side * (size.width > size.height ? 1.25 : 1),
        size.height / 2 - (data.y[layout][i] / 999 - view.y) * side,
      ];
    }

    function mix(a, b, share) {
      const parse = (c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16));
      const [from, to] = [parse(a), parse(b)];
      return "rgb(" + from.map((v, k) => Math.round(v + (to[k] - v) * share)).join(",") + ")";
    }

    function palette(colour) {
      const grey = css("--c0");
      if (colour.kind === "number") {
        const [low, mid, high] = [css("--seq-low"), css("--seq-mid"), css("--seq-high")];
        return (code) => {
          if (code < 0) return grey;
          const share = Math.min(1, Math.max(0, (code - colour.low) / (colour.high - colour.low)));
          return share < 0.5 ? mix(low, mid, share * 2) : mix(mid, high, share * 2 - 1);
        };
      }
      const eight = [1, 2, 3, 4, 5, 6, 7, 8].map((k) => css("--c" + k));
      return (code) => (code < 0 ? grey : eight[code % 8]);
    }

    function mark(x, y, r, shape) {
      context.beginPath();
      if (shape === 1) context.rect(x - r, y - r, 2 * r, 2 * r);
      else if (shape === 2) { context.moveTo(x, y - 1.3 * r); context.lineTo(x + 1.2 * r, y + r); context.lineTo(x - 1.2 * r, y + r); context.closePath(); }
      else context.arc(x, y, r, 0, 2 * Math.PI);
    }

    function draw() {
      const ratio = devicePixelRatio || 1;
      size = { width: canvas.clientWidth, height: canvas.clientHeight };
      canvas.width = Math.round(size.width * ratio);
      canvas.height = Math.round(size.height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, size.width, size.height);
      const colour = chosen();
      const paint = palette(colour);
      const classes = colour.kind === "classes";
      const radius = Math.min(5, 2.4 * Math.sqrt(view.zoom)) * (n > 1500 ? 0.85 : 1);
      // What is not known lies below what is, and what is emphasised above all.
      const layer = (i) => (colour.codes[i] < 0 ? 0 : colour.codes[i] === emphasised ? 2 : 1);
      for (const wanted of [0, 1, 2]) {
        for (let i = 0; i < n; i++) {
          if (layer(i) !== wanted) continue;
          const [x, y] = place(i);
          if (x < -9 || y < -9 || x > size.width + 9 || y > size.height + 9) continue;
          const code = colour.codes[i];
          context.globalAlpha = emphasised >= 0 && wanted < 2 ? 0.1 : code < 0 ? 0.3 : 0.75;
          context.fillStyle = paint(code);
          mark(x, y, radius, classes ? shapeOf(Math.max(code, 0)) : 0);
          context.fill();
        }
      }
      if (colour.name === "Pattern") numbers(colour);
      if (current >= 0) {
        const [x, y] = place(current);
        context.globalAlpha = 1;
        context.lineWidth = 2;
        context.strokeStyle = css("--ink");
        mark(x, y, radius + 3, 0);
        context.stroke();
      }
      context.globalAlpha = 1;
      canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
    }

    // Each pattern's number at its middle point: colours alone do not tell twelve apart.
    function numbers(colour) {
      context.globalAlpha = 1;
      context.font = "600 13px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.lineWidth = 4;
      context.strokeStyle = css("--bg");
      context.fillStyle = css("--ink");
      colour.names.forEach((name, code) => {
        const places = [];
        for (let i = 0; i < n; i++) if (colour.codes[i] === code) places.push(place(i));
        if (!places.length) return;
        const middle = (k) => places.map((p) => p[k]).sort((a, b) => a - b)[Math.floor(places.length / 2)];
        const [x, y] = [middle(0), middle(1)];
        const text = name.split(":")[0];
        context.strokeText(text, x, y);
        context.fillText(text, x, y);
      });
    }

    function shape(code) {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 14 14");
      svg.setAttribute("aria-hidden", "true");
      const form = document.createElementNS("http://www.w3.org/2000/svg", "path");
      form.setAttribute("d", ["M7 2a5 5 0 1 0 .01 0z", "M2 2h10v10h-10z", "M7 1l6 11h-12z"][shapeOf(code)]);
      form.setAttribute("fill", "var(--c" + ((code % 8) + 1) + ")");
      svg.append(form);
      return svg;
    }

    function legend() {
      const colour = chosen();
      figure.dataset.colour = colour.name;
      document.getElementById("map-note").textContent = colour.note;
      const items = [];
      if (colour.kind === "number") {
        const item = document.createElement("li");
        const ramp = document.createElement("div");
        ramp.className = "ramp";
        const ends = document.createElement("div");
        ends.className = "ramp-ends";
        for (const end of [colour.low, colour.high]) {
          const span = document.createElement("span");
          span.textContent = end + " " + colour.unit;
          ends.append(span);
        }
        item.append(ramp, ends);
        items.push(item);
      } else {
        colour.names.forEach((name, code) => {
          const item = document.createElement("li");
          const button = document.createElement("button");
          button.type = "button";
          button.setAttribute("aria-pressed", String(code === emphasised));
          const words = document.createElement("span");
          words.textContent = name;
          button.append(shape(code), words);
          button.addEventListener("click", () => {
            emphasised = emphasised === code ? -1 : code;
            keys.querySelectorAll("button").forEach((b, k) => b.setAttribute("aria-pressed", String(k === emphasised)));
            draw();
          });
          item.append(button);
          items.push(item);
        });
      }
      keys.replaceChildren(...items);
    }

    function words(i) {
      const shown = new Set([0, 1, Number(colourSelect.value)]);
      data.colours.forEach((c, k) => { if (c.kind === "number" || c.name === "Charted rhythm") shown.add(k); });
      return [...shown].sort((a, b) => a - b).map((k) => {
        const colour = data.colours[k];
        const code = colour.codes[i];
        if (colour.kind === "number") return colour.name + ": " + (code < 0 ? "not known" : code + " " + colour.unit);
        return colour.name + ": " + (code < 0 ? "not known or not shown" : colour.names[code]);
      });
    }

    function show(i) {
      if (i === current) return;
      current = i;
      tip.hidden = i < 0;
      status.textContent = i < 0 ? hint : words(i).join(" · ");
      draw();
      if (i < 0) return;
      tip.textContent = words(i).join("\n");
      const [x, y] = place(i);
      tip.style.left = Math.max(0, Math.min(x + 12, size.width - tip.offsetWidth - 2)) + "px";
      tip.style.top = Math.max(0, y + tip.offsetHeight + 16 > size.height ? y - tip.offsetHeight - 10 : y + 12) + "px";
    }

    function nearest(px, py) {
      let best = -1;
      let least = 14 * 14;
      for (let i = 0; i < n; i++) {
        if (emphasised >= 0 && chosen().codes[i] !== emphasised) continue;
        const [x, y] = place(i);
        const d = (x - px) ** 2 + (y - py) ** 2;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }

    function zoom(factor) {
      view.zoom = Math.min(40, Math.max(1, view.zoom * factor));
      if (view.zoom === 1) { view.x = 0.5; view.y = 0.5; }
      figure.dataset.zoom = view.zoom.toFixed(2);
      show(-1);
      draw();
    }

    function pan(dx, dy) {
      const side = Math.min(size.width, size.height) * 0.94 * view.zoom;
      view.x = Math.min(1, Math.max(0, view.x - dx / side));
      view.y = Math.min(1, Math.max(0, view.y + dy / side));
      draw();
    }

    function next(step) {
      for (let k = 1; k <= n; k++) {
        const i = (((current < 0 ? (step > 0 ? -1 : 0) : current) + step * k) % n + n) % n;
        const [x, y] = place(i);
        const inside = x >= 0 && y >= 0 && x <= size.width && y <= size.height;
        if (inside && (emphasised < 0 || chosen().codes[i] === emphasised)) { show(i); return; }
      }
    }

    let dragged = null;
    canvas.addEventListener("pointerdown", (e) => { dragged = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointerup", () => { dragged = null; });
    canvas.addEventListener("pointercancel", () => { dragged = null; });
    canvas.addEventListener("pointermove", (e) => {
      if (dragged && view.zoom > 1) {
        pan(e.clientX - dragged[0], e.clientY - dragged[1]);
        dragged = [e.clientX, e.clientY];
        return;
      }
      const box = canvas.getBoundingClientRect();
      show(nearest(e.clientX - box.left, e.clientY - box.top));
    });
    canvas.addEventListener("pointerleave", () => { if (!dragged) show(-1); });
    canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && document.activeElement !== canvas) return;  // the page scrolls on
      e.preventDefault();
      zoom(e.deltaY < 0 ? 1.25 : 0.8);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const far = 40;
      const actions = {
        ArrowLeft: () => pan(far, 0), ArrowRight: () => pan(-far, 0), ArrowUp: () => pan(0, far), ArrowDown: () => pan(0, -far),
        "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => zoom(0),
        n: () => next(1), p: () => next(-1), Escape: () => show(-1),
      };
      if (e.ctrlKey || e.metaKey || e.altKey || !actions[e.key]) return;
      e.preventDefault();
      actions[e.key]();
    });
    document.getElementById("map-in").addEventListener("click", () => zoom(1.5));
    document.getElementById("map-out").addEventListener("click", () => zoom(1 / 1.5));
    document.getElementById("map-reset").addEventListener("click", () => zoom(0));
    colourSelect.addEventListener("change", () => { emphasised = -1; show(-1); legend(); draw(); });
    layoutSelect.addEventListener("change", () => { show(-1); draw(); });
    new ResizeObserver(draw).observe(canvas);
    redraws.push(draw);
    legend();
    draw();
  }
})();
