"use strict";
// Maps of one byte a value as pictures: blue is one class, orange the other, white undecided.

const [BLUE, ORANGE, WHITE] = [[1, 115, 178], [222, 143, 5], [247, 247, 247]];
const COLORS = Array.from({ length: 256 }, (_, value) => {
  const share = (value - 127.5) / 127.5;
  const end = share > 0 ? ORANGE : BLUE;
  return WHITE.map((white, k) => Math.round(white + Math.abs(share) * (end[k] - white)));
});

/** Draw a square of values into a picture, from its left edge at a height. */
function paint(image, values, size, top = 0) {
  for (let k = 0; k < size * size; k++) {
    const [red, green, blue] = COLORS[values[k]];
    const at = 4 * ((top + Math.floor(k / size)) * image.width + (k % size));
    image.data[at] = red;
    image.data[at + 1] = green;
    image.data[at + 2] = blue;
    image.data[at + 3] = 255;
  }
}

/** The output over the plane with its boundary and the points. */
function drawMap(canvas, values, size, points, reach) {
  const scale = 4;
  if (canvas.width !== size * scale) canvas.width = canvas.height = size * scale;
  const small = new OffscreenCanvas(size, size);
  const image = new ImageData(size, size);
  paint(image, values, size);
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.fillStyle = "#1b1b1f";
  for (let y = 0; y < size - 1; y++)
    for (let x = 0; x < size - 1; x++) {
      const side = values[y * size + x] > 127;
      if (side !== values[y * size + x + 1] > 127 || side !== values[(y + 1) * size + x] > 127)
        context.fillRect(x * scale + scale / 2, y * scale + scale / 2, scale * 0.7, scale * 0.7);
    }
  const place = (value) => ((value + reach) / (2 * reach)) * canvas.width;
  context.lineWidth = 1.2;
  for (const [x, y, label] of points) {
    context.beginPath();
    context.fillStyle = label > 0 ? "#de8f05" : "#0173b2";
    context.strokeStyle = "#ffffff";
    if (label > 0) context.arc(place(x), canvas.height - place(y), 4, 0, 2 * Math.PI);
    else context.rect(place(x) - 3.5, canvas.height - place(y) - 3.5, 7, 7);
    context.fill();
    context.stroke();
  }
}

/** Every hidden neuron: a canvas a layer, made anew when the network's shape changes. */
function drawNeurons(place, layers) {
  const shape = layers.map(({ count, size }) => `${count}x${size}`).join();
  if (place.dataset.shape !== shape) {
    place.dataset.shape = shape;
    place.replaceChildren(
      ...layers.map(({ count, size }, k) => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [size, count * (size + 2)];
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `The ${count} neurons after layer ${k + 1}`);
        canvas.style.height = `${count * 2.2}rem`;
        return canvas;
      }),
    );
  }
  for (const [k, { values, count, size }] of layers.entries()) {
    const canvas = place.children[k];
    const image = new ImageData(canvas.width, canvas.height);
    for (let n = 0; n < count; n++) paint(image, values.subarray(n * size * size, (n + 1) * size * size), size, n * (size + 2));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }
}
