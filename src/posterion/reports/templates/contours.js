"use strict";
// Contours of two columns and their densities, from draws kept as one byte each.

const CELLS = 80; // of a grid per side; the number of levels is a multiple of it
const OUTSIDE = 255;
const FIFTH = 0.50669; // width of the shortest interval with a fifth of a normal, in sd
const COLOURS = ["#0072B2", "#D55E00"];
const SIZE = { left: 78, top: 118, main: 420, side: 96, gap: 10, foot: 62 };

function decode(text, n, d) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Array.from({ length: d }, (_, j) => bytes.subarray(j * n, (j + 1) * n));
}

// Width of the kernel in levels, from the shortest interval that holds a fifth of the draws: it is
// that of the narrowest peak, where a standard deviation is that of all peaks together. In two
// dimensions somewhat more than is best for the density: that leaves outer contours wavy.
function kernelWidth(codes, levels, dimensions) {
  const count = new Float64Array(levels + 1);
  let n = 0;
  for (const c of codes) if (c !== OUTSIDE) { count[c + 1] += 1; n += 1; }
  for (let i = 0; i < levels; i++) count[i + 1] += count[i];
  let shortest = levels;
  for (let first = 0, last = 0; first < levels; first++) {
    while (last < levels && count[last] - count[first] < n / 5) last++;
    if (count[last] - count[first] < n / 5) break;
    const step = count[last] - count[last - 1];
    shortest = Math.min(shortest, last - (count[last] - count[first] - n / 5) / step - first);
  }
  const scale = Math.max(shortest, 1e-9) / FIFTH;
  const width = dimensions === 1 ? 1.06 * scale * Math.pow(n, -1 / 5) : 1.3 * scale * Math.pow(n, -1 / 6);
  return Math.max(width, 0.4 * levels / CELLS);
}

// Smooths rows of length m, `stride` apart, in place; beyond the ends is a mirror or, on a circle,
// the other end.
function smooth(values, m, starts, stride, width, circle) {
  const reach = Math.min(Math.ceil(4 * width), circle ? m : 4 * m);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * Math.pow((i - reach) / width, 2)));
  const total = kernel.reduce((a, b) => a + b, 0);
  const place = (i) => {
    if (circle) return ((i % m) + m) % m;
    const k = ((i % (2 * m)) + 2 * m) % (2 * m);
    return k < m ? k : 2 * m - 1 - k;
  };
  const row = new Float64Array(m);
  for (const start of starts) {
    for (let i = 0; i < m; i++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) sum += kernel[k + reach] * values[start + stride * place(i + k)];
      row[i] = sum / total;
    }
    for (let i = 0; i < m; i++) values[start + stride * i] = row[i];
  }
}

function density1(codes, levels, circle) {
  const values = new Float64Array(levels);
  for (const c of codes) if (c !== OUTSIDE) values[c] += 1 / codes.length;
  smooth(values, levels, [0], 1, kernelWidth(codes, levels, 1), circle);
  return values;
}

// values[i * CELLS + j]: the share of draws in cell i of the first column and j of the second.
function density2(first, second, levels, circles) {
  const size = levels / CELLS;
  const values = new Float64Array(CELLS * CELLS);
  for (let r = 0; r < first.length; r++) {
    if (first[r] === OUTSIDE || second[r] === OUTSIDE) continue;
    values[Math.floor(first[r] / size) * CELLS + Math.floor(second[r] / size)] += 1 / first.length;
  }
  const all = Array.from({ length: CELLS }, (_, i) => i);
  smooth(values, CELLS, all, CELLS, kernelWidth(first, levels, 2) / size, circles[0]);
  smooth(values, CELLS, all.map((i) => i * CELLS), 1, kernelWidth(second, levels, 2) / size, circles[1]);
  return values;
}

// Densities above which lie these shares of the draws: taken at the draws themselves, since
// smoothing shifts the shape of a contour, not its content.
function contourLevels(values, first, second, levels, masses) {
  const size = levels / CELLS;
  const found = new Float64Array(first.length);
  const locate = (code) => {
    const x = Math.min(Math.max((code + 0.5) / size - 0.5, 0), CELLS - 1);
    const i = Math.min(Math.floor(x), CELLS - 2);
    return [i, x - i];
  };
  for (let r = 0; r < first.length; r++) {
    if (first[r] === OUTSIDE || second[r] === OUTSIDE) continue;
    const [i, u] = locate(first[r]);
    const [j, v] = locate(second[r]);
    const k = i * CELLS + j;
    found[r] = (1 - u) * ((1 - v) * values[k] + v * values[k + 1]) + u * ((1 - v) * values[k + CELLS] + v * values[k + CELLS + 1]);
  }
  found.sort();
  return masses.map((mass) => {
    const x = (1 - mass) * (found.length - 1);
    const i = Math.min(Math.floor(x), found.length - 2);
    return found[i] + (x - i) * (found[i + 1] - found[i]);
  });
}

// Closed rings around what lies above a level, in cells: marching squares on the centres, with an
// empty border around, so that every ring closes.
function rings(values, level) {
  const m = CELLS + 2;
  const at = (i, j) => (i < 1 || j < 1 || i > CELLS || j > CELLS ? 0 : values[(i - 1) * CELLS + j - 1]);
  const next = new Map();
  const cross = (i, j, k, l) => {
    const a = at(i, j), b = at(k, l);
    const t = (level - a) / (b - a);
    return { key: (i * m + j) * 2 + (k === i ? 1 : 0), point: [i + t * (k - i) - 0.5, j + t * (l - j) - 0.5] };
  };
  const points = new Map();
  for (let i = 0; i < m - 1; i++) for (let j = 0; j < m - 1; j++) {
    const corner = [at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)];
    const above = corner.map((v) => v > level);
    const edges = [
      () => cross(i, j, i + 1, j), () => cross(i + 1, j, i + 1, j + 1),
      () => cross(i, j + 1, i + 1, j + 1), () => cross(i, j, i, j + 1),
    ];
    // Walked so that what is above lies to one side: each crossing out is joined to a crossing in.
    const out = [], into = [];
    for (let e = 0; e < 4; e++) {
      if (above[e] && !above[(e + 1) % 4]) out.push(e);
      if (!above[e] && above[(e + 1) % 4]) into.push(e);
    }
    const middle = corner.reduce((a, b) => a + b, 0) / 4 > level;
    for (const e of out) {
      const turn = middle ? 1 : -1; // of a saddle, whether the two parts above are joined
      let f = e;
      do f = (f + turn + 4) % 4; while (!into.includes(f));
      const a = edges[e](), b = edges[f]();
      points.set(a.key, a.point);
      points.set(b.key, b.point);
      next.set(a.key, b.key);
    }
  }
  const found = [];
  while (next.size) {
    const start = next.keys().next().value;
    const ring = [];
    for (let key = start; next.has(key);) {
      ring.push(points.get(key));
      const after = next.get(key);
      next.delete(key);
      key = after;
    }
    found.push(ring);
  }
  return found;
}

function ticks(lower, upper, count) {
  const raw = (upper - lower) / count;
  const power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].find((s) => s * power >= raw * 0.999) * power;
  const found = [];
  for (let k = Math.ceil(lower / step - 1e-9); k * step <= upper + 1e-9 * step; k++) found.push(k * step);
  return found;
}

function number(x, spread) {
  if (Math.abs(x) < 1e-9 * spread) return "0";
  const digits = Math.max(1, Math.ceil(Math.log10(Math.abs(x) / spread)) + 3);
  return String(Number(x.toPrecision(Math.min(digits, 12)))).replace("-", "\u2212");
}

function correlation(first, second) {
  let n = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0;
  for (let r = 0; r < first.length; r++) {
    const x = first[r], y = second[r];
    if (x === OUTSIDE || y === OUTSIDE) continue;
    n += 1; a += x; b += y; aa += x * x; bb += y * y; ab += x * y;
  }
  return (ab - a * b / n) / Math.sqrt((aa - a * a / n) * (bb - b * b / n));
}

function escaped(text) {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

// The picture as SVG: contours, the densities of both columns beside them, axes, legend.
function picture(data, sets, a, b) {
  const { left, top, main, side, gap, foot } = SIZE;
  const columns = [data.columns[a], data.columns[b]];
  const right = left + main, bottom = top + main;
  const width = right + gap + side + 8, height = bottom + foot;
  const parts = [];
  const x = (cell) => (left + main * cell / CELLS).toFixed(1);
  const y = (cell) => (bottom - main * cell / CELLS).toFixed(1);
  const curves = [a, b].map((k, axis) => sets.map((set) => density1(set.codes[k], data.levels, columns[axis].circle)));
  const peaks = curves.map((each) => Math.max(...each.map((curve) => Math.max(...curve))));
  sets.forEach((set, s) => {
    const [first, second] = [set.codes[a], set.codes[b]];
    const colour = COLOURS[s], dashes = s ? ' stroke-dasharray="5 3"' : "";
    const values = density2(first, second, data.levels, columns.map((c) => c.circle));
    const levels = contourLevels(values, first, second, data.levels, data.masses);
    levels.slice().sort((p, q) => p - q).forEach((level, k) => {
      const path = rings(values, level).map((ring) => "M" + ring.map(([i, j]) => `${x(i)},${y(j)}`).join("L") + "Z").join("");
      const fill = s ? "none" : colour;
      parts.push(`<path d="${path}" fill="${fill}" fill-opacity="${k ? 0.35 : 0.18}" fill-rule="evenodd" stroke="${colour}" stroke-width="1.6"${dashes}/>`);
    });
    curves.forEach((each, axis) => {
      const line = Array.from(each[s], (value, i) => {
        const along = main * (i + 0.5) / data.levels, up = 0.94 * side * value / peaks[axis];
        return axis ? `${(right + gap + up).toFixed(1)},${(bottom - along).toFixed(1)}` : `${(left + along).toFixed(1)},${(top - gap - up).toFixed(1)}`;
      });
      parts.push(`<path d="M${line.join("L")}" fill="none" stroke="${colour}" stroke-width="1.6"${dashes}/>`);
    });
  });
  const axes = [];
  columns.forEach((column, axis) => {
    const spread = column.upper - column.lower;
    for (const tick of ticks(column.lower, column.upper, 5)) {
      const along = main * (tick - column.lower) / spread;
      const said = number(tick, spread);
      if (axis) axes.push(`<path d="M${left},${bottom - along}h5"/><text x="${left - 6}" y="${bottom - along + 4}" text-anchor="end">${said}</text>`);
      else axes.push(`<path d="M${left + along},${bottom}v-5"/><text x="${left + along}" y="${bottom + 17}" text-anchor="middle">${said}</text>`);
    }
  });
  const names = columns.map((column) => escaped(column.heading));
  axes.push(`<text class="name" x="${left + main / 2}" y="${bottom + 42}" text-anchor="middle">${names[0]}</text>`);
  axes.push(`<text class="name" transform="translate(18 ${top + main / 2}) rotate(-90)" text-anchor="middle">${names[1]}</text>`);
  const label = escaped(`Contours of ${columns[0].name} and ${columns[1].name}: regions that hold 68 % and 95 % of the draws`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${label}">`
    + parts.join("") + `<g fill="currentColor" stroke="currentColor"><rect x="${left}" y="${top}" width="${main}" height="${main}" fill="none"/>`
    + axes.join("").replace(/<text/g, '<text stroke="none"') + "</g></svg>";
}

function caption(data, sets, a, b) {
  return sets.map((set) => {
    const said = [a, b].map((j) => `${data.columns[j].heading} ${set.said[j]}`).join(", ");
    return `${set.label}: ${said}, correlation ${number(correlation(set.codes[a], set.codes[b]), 10)}`;
  });
}

function unpacked(data) {
  return data.sets.map((set) => ({ ...set, codes: decode(set.codes, set.n, data.columns.length) }));
}

if (typeof module !== "undefined") {
  module.exports = { CELLS, OUTSIDE, caption, contourLevels, correlation, decode, density1, density2, kernelWidth, number, picture, rings, ticks, unpacked };
}

if (typeof document !== "undefined") {
  const get = (id) => document.getElementById(id);
  const data = JSON.parse(get("contours-data").textContent);
  const sets = unpacked(data);
  const picks = [get("contours-x"), get("contours-y")];
  const draw = () => {
    const [a, b] = picks.map((pick) => Number(pick.value));
    get("contours-picture").innerHTML = picture(data, sets, a, b);
    get("contours-said").replaceChildren(...caption(data, sets, a, b).map((text, s) => {
      const line = document.createElement("p");
      line.textContent = text;
      line.className = `set${s}`;
      return line;
    }));
  };
  picks.forEach((pick, axis) => {
    data.columns.forEach((column, j) => {
      const option = document.createElement("option");
      option.value = String(j);
      option.textContent = column.name;
      pick.append(option);
    });
    pick.value = String(axis ? data.second : data.first);
    pick.addEventListener("change", draw);
  });
  get("contours-pick").hidden = false;
  draw();
}
