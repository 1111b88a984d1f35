"use strict";
(() => {
  const sections = [...document.querySelectorAll("main > details")];
  const toggle = document.getElementById("toggle");
  const viewer = document.getElementById("viewer");
  document.documentElement.classList.add("scripted");

  const allOpen = () => sections.every((section) => section.open);
  const setAll = (open) => sections.forEach((section) => { section.open = open; });
  const reveal = (hash) => {
    const section = sections.find((item) => `#${item.id}` === decodeURIComponent(hash));
    if (section) section.open = true;
  };
  toggle.addEventListener("click", () => setAll(!allOpen()));
  sections.forEach((section) => section.addEventListener("toggle", () => {
    toggle.textContent = allOpen() ? "Collapse all" : "Expand all";
  }));
  document.querySelectorAll("nav a").forEach((link) => link.addEventListener("click", () => reveal(link.hash)));
  addEventListener("hashchange", () => reveal(location.hash));
  reveal(location.hash);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = sections.filter((section) => !section.open);
    setAll(true);
    document.querySelectorAll("img").forEach((image) => { image.loading = "eager"; });
  });
  addEventListener("afterprint", () => closed.forEach((section) => { section.open = false; }));

  const keyOf = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const compare = (first, second) => {
    const [a, b] = [Number(first), Number(second)];
    if (!Number.isNaN(a) && !Number.isNaN(b)) return a - b;
    return first.localeCompare(second, "en", { numeric: true });
  };
  const sort = (button) => {
    const header = button.closest("th");
    const table = button.closest("table");
    const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const keyed = [...table.tBodies[0].rows].map((row) => [keyOf(row, header.cellIndex), row]);
    const known = keyed.filter(([key]) => key !== "").sort(([a], [b]) => compare(a, b));
    if (order === "descending") known.reverse();
    const unknown = keyed.filter(([key]) => key === "");
    table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
    for (const other of header.parentNode.cells) other.setAttribute("aria-sort", other === header ? order : "none");
    document.getElementById("status").textContent = `Sorted by ${button.textContent}, ${order}`;
  };
  document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => sort(button)));

  document.querySelectorAll("figure").forEach((figure) => {
    const image = figure.querySelector("img");
    const enlarge = () => {
      viewer.lastElementChild.replaceChildren(image.cloneNode());
      viewer.showModal();
    };
    image.addEventListener("click", enlarge);
    figure.querySelector("button").addEventListener("click", enlarge);
  });
  viewer.addEventListener("click", () => viewer.close());
})();
