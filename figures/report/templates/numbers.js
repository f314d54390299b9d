"use strict";
// Numbers as a page shows and carries them: base64, compressed CSV, tables.

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

const floatsOf = (base64) =>
  Array.from(new Float32Array(bytesOf(base64).buffer), (value) => (Number.isNaN(value) ? null : value));

const superscript = (number) => [...String(number)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");

/** A number with four significant digits; a dash where none is known. */
function shown(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === Infinity) return value > 0 ? "∞" : "−∞";
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

/** A number on an axis: powers of ten as such. */
function onAxis(value) {
  if (value === null) return "";
  const exponent = Math.log10(Math.abs(value));
  if (value > 0 && Number.isInteger(Math.round(exponent * 1e9) / 1e9) && (exponent < -2 || exponent > 3))
    return "10" + superscript(Math.round(exponent));
  return shown(value, 3);
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A table that scrolls by itself; the first row is its heading, and all cells are text. */
function tableOf(rows, title) {
  const head = element("tr", {}, ...rows[0].map((cell) => element("th", { scope: "col" }, cell)));
  const body = rows.slice(1).map((row) =>
    element("tr", {}, ...row.map((cell, k) => (k || !cell ? element("td", {}, cell) : element("th", { scope: "row" }, cell)))),
  );
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Table: " + title }, table);
}

/** The rows of a CSV with quotes. */
function rowsOf(text) {
  const rows = [[]];
  for (const [, cell, end] of text.matchAll(/("(?:[^"]|"")*"|[^",\n]*)(,|\n|$)/g)) {
    rows.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
    if (end === "\n") rows.push([]);
    if (end === "") break;
  }
  return rows.filter((row) => row.length > 1 || row[0] !== "");
}

async function unpacked(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const MOST_ROWS = 500;

async function showNumbers(details) {
  const { name, packed } = details.dataset;
  const text = await unpacked(packed);
  const rows = rowsOf(text);
  const save = element("button", { type: "button" }, "Save " + name);
  save.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  const more = rows.length - 1 > MOST_ROWS ? ` The first ${MOST_ROWS} of ${rows.length - 1} rows:` : "";
  details.append(element("p", {}, save, more), tableOf(rows.slice(0, MOST_ROWS + 1), name));
}
