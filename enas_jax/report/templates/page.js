"use strict";
// The page is whole without this. It sorts tables, and says what is under the
// pointer, or chosen with the arrow keys, in charts.

const order = new Intl.Collator(undefined, { numeric: true });

function sortBy(table, column, direction) {
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.number;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    // What has no number comes last, whichever way.
    if (x === undefined || y === undefined) {
      if (x !== y) return x === undefined ? 1 : -1;
      const words = (row) => row.cells[column].textContent;
      return direction * order.compare(words(a), words(b));
    }
    return direction * (Number(x) - Number(y));
  };
  body.append(...[...body.rows].sort(compare));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortBy(table, column, down ? -1 : 1);
    });
  });
}

function circle() {
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  mark.setAttribute("r", "4");
  mark.setAttribute("fill", "none");
  mark.setAttribute("stroke", "currentColor");
  mark.setAttribute("stroke-width", "1.5");
  return mark;
}

for (const figure of document.querySelectorAll("figure[data-values]")) {
  const { x, series } = JSON.parse(figure.dataset.values);
  const svg = figure.querySelector("svg");
  const words = document.createElement("output");
  svg.after(words);
  const mark = circle();
  let chosen = [0, -1]; // of a series, a point

  const show = (line, index) => {
    chosen = [line, index];
    const [xValue, y, left, top] = series[line].points[index];
    mark.setAttribute("cx", left);
    mark.setAttribute("cy", top);
    svg.append(mark);
    const short = (value) => Number(value.toPrecision(6));
    words.textContent =
      `${series[line].name}: ${short(y)} at ${x} ${short(xValue)}`;
  };

  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(
      svg.getScreenCTM().inverse(),
    );
    let least = Infinity;
    let near = null;
    series.forEach((one, line) =>
      one.points.forEach(([, , left, top], index) => {
        const distance = (left - at.x) ** 2 + (top - at.y) ** 2;
        if (distance < least) [least, near] = [distance, [line, index]];
      }),
    );
    if (near) show(...near);
  });

  svg.setAttribute("tabindex", "0");
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1],
                   ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const clamp = (value, end) => Math.min(Math.max(value, 0), end - 1);
    const line = clamp(chosen[0] + step[0], series.length);
    show(line, clamp(chosen[1] + step[1], series[line].points.length));
  });
}
