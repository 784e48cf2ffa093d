// Small charts beside each clip, and the comparison of folders.

const SVG = "http://www.w3.org/2000/svg";
const reference = report.motions.reference;

function element(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function figureIn(parent, caption, viewBox) {
  const figure = document.createElement("figure");
  const title = document.createElement("figcaption");
  title.textContent = caption;
  figure.append(title);
  parent.append(figure);
  return element("svg", { viewBox }, figure);
}

const pathOf = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join("");

/** Where the camera takes the frame's centre: the drawn box is the frame, scaled to fit the paths. */
function drawCamera(parent, own) {
  const svg = figureIn(parent, "Camera path", "0 0 140 100");
  const farthest = Math.max(...[...own.camera.pan, ...reference.camera.pan].flat().map(Math.abs));
  const reach = Math.max(farthest * 1.15, 5); // percent of the frame, each way
  const place = ([x, y]) => [70 + (x / reach) * 48, 50 + (y / reach) * 48];
  element("line", { x1: 0, y1: 50, x2: 140, y2: 50, class: "grid-line" }, svg);
  element("line", { x1: 70, y1: 0, x2: 70, y2: 100, class: "grid-line" }, svg);
  element("text", { x: 140, y: 98, "text-anchor": "end" }, svg, `± ${reach.toFixed(0)} %`);
  const series = [["of-reference", reference], ["", own]];
  for (const [kind, motion] of series) {
    element("path", { class: `path ${kind}`, d: pathOf(motion.camera.pan.map(place)) }, svg);
  }
  const dots = series.map(([kind]) => element("circle", { class: `now ${kind}`, r: 3.5 }, svg));
  frameListeners.push((index) =>
    series.forEach(([, motion], i) => {
      const [x, y] = place(motion.camera.pan[index]);
      dots[i].setAttribute("cx", x);
      dots[i].setAttribute("cy", y);
    }),
  );
}

function tellZoomAndRoll(parent, own) {
  const last = (values) => values[values.length - 1];
  const caption = document.createElement("p");
  const told = ({ camera }) => `×${last(camera.zoom).toFixed(2)}, ${last(camera.roll).toFixed(1)}°`;
  caption.textContent = `Zoom and roll ${told(own)} (reference ${told(reference)})`;
  parent.append(caption);
}

/** How far what moves by itself has got, over time. */
function drawObjects(parent, own) {
  const svg = figureIn(parent, "Object displacement", "0 0 140 100");
  const top = Math.max(...own.objects, ...reference.objects, 1) * 1.1;
  const last = report.frames - 1;
  const place = (value, index) => [(index / last) * 140, 96 - (value / top) * 92];
  element("line", { x1: 0, y1: 96, x2: 140, y2: 96, class: "grid-line" }, svg);
  element("text", { x: 0, y: 10 }, svg, `${top.toFixed(0)} %`);
  for (const [kind, motion] of [["of-reference", reference], ["", own]]) {
    element("path", { class: `path ${kind}`, d: pathOf(motion.objects.map(place)) }, svg);
  }
  const line = element("line", { y1: 4, y2: 96, class: "now-line" }, svg);
  frameListeners.push((index) => {
    line.setAttribute("x1", (index / last) * 140);
    line.setAttribute("x2", (index / last) * 140);
  });
}

for (const card of cards) {
  const parent = card.querySelector(".charts");
  if (!parent) continue;
  const own = report.motions[card.dataset.key];
  drawCamera(parent, own);
  drawObjects(parent, own);
  tellZoomAndRoll(parent, own);
}

/** Steps of 1, 2 or 5 times a power of ten, about five of them. */
function roundTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  const ticks = Array.from({ length: count }, (_, i) => (first + i) * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** CLIP-T against motion discrepancy, a cross of intervals per folder. */
function drawComparison(folders) {
  const shown = folders.filter(({ x, y }) => x.mean !== null && y.mean !== null);
  const parent = document.getElementById("comparison");
  if (shown.length < 2) return;
  parent.hidden = false;
  const title = document.createElement("figcaption");
  title.textContent = "Prompt against motion";
  parent.append(title);
  if (report.doubt) {
    const doubt = document.createElement("p");
    doubt.className = "note";
    doubt.textContent = `† Motion discrepancy is not to be trusted on this clip: ${report.doubt}.`;
    parent.append(doubt);
  }
  const width = Math.min(Math.max(parent.clientWidth - 48, 280), 640);
  const svg = element("svg", { viewBox: `0 0 ${width} 380`, role: "img" }, parent);
  const names = shown.map(({ name }) => name).join(", ");
  svg.setAttribute("aria-label", `CLIP-T against motion discrepancy of ${names}`);
  const box = { left: 64, right: width - 24, top: 24, bottom: 320 };
  const axis = (key, from, to) => {
    const ends = shown.flatMap((folder) => {
      const { mean, low, high } = folder[key];
      return [low ?? mean, high ?? mean];
    });
    const margin = (Math.max(...ends) - Math.min(...ends)) * 0.12 || Math.abs(ends[0]) * 0.1 || 1;
    const [low, high] = [Math.min(...ends) - margin, Math.max(...ends) + margin];
    const place = (value) => from + ((value - low) / (high - low)) * (to - from);
    return { place, ...roundTicks(low, high) };
  };
  const xs = axis("x", box.left, box.right);
  const ys = axis("y", box.bottom, box.top);
  for (const tick of xs.ticks) {
    const x = xs.place(tick);
    element("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, class: "grid-line" }, svg);
    const label = { x, y: box.bottom + 18, "text-anchor": "middle" };
    element("text", label, svg, tick.toFixed(xs.digits));
  }
  for (const tick of ys.ticks) {
    const y = ys.place(tick);
    element("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: "grid-line" }, svg);
    element("text", { x: box.left - 8, y: y + 4, "text-anchor": "end" }, svg, tick.toFixed(ys.digits));
  }
  element("text", { x: box.right, y: 362, "text-anchor": "end" }, svg, "Motion discrepancy, lower is better");
  element("text", { x: 8, y: 12 }, svg, "CLIP-T, higher is better");
  shown.forEach((folder, number) => {
    const group = element("g", { class: `series-${folders.indexOf(folder) % 6}` }, svg);
    const [x, y] = [xs.place(folder.x.mean), ys.place(folder.y.mean)];
    if (folder.x.low !== null) {
      const ends = { x1: xs.place(folder.x.low), x2: xs.place(folder.x.high), y1: y, y2: y };
      element("line", { ...ends, class: "whisker" }, group);
    }
    if (folder.y.low !== null) {
      const ends = { y1: ys.place(folder.y.low), y2: ys.place(folder.y.high), x1: x, x2: x };
      element("line", { ...ends, class: "whisker" }, group);
    }
    element("circle", { cx: x, cy: y, r: 6, class: "mean" }, group);
    const short = folder.name.length > 24 ? `…${folder.name.slice(-23)}` : folder.name;
    const atRight = x + 12 + 7 * short.length > width; // about 7 pixels a letter
    const label = { x: x + (atRight ? -12 : 12), y: number % 2 ? y + 22 : y - 12, class: "name" };
    element("text", { ...label, "text-anchor": atRight ? "end" : "start" }, group, short);
  });
}

drawComparison(report.comparison);
