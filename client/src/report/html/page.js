"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.classList.contains("dark") ||
      (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
    root.classList.toggle("dark", !dark);
    root.classList.toggle("light", dark);
  });
  for (const table of document.querySelectorAll("table.search")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    if (rows.length > 5) {
      const filter = document.createElement("input");
      filter.className = "filter";
      filter.type = "search";
      filter.placeholder = "filter " + rows.length + " rows";
      filter.setAttribute("aria-label", "filter rows");
      const none = document.createElement("p");
      none.className = "none";
      none.textContent = "no row has this";
      none.hidden = true;
      table.before(filter);
      table.after(none);
      filter.addEventListener("input", () => {
        const wanted = filter.value.trim().toLowerCase().split(/\s+/);
        let shown = 0;
        for (const row of rows) {
          const text = row.textContent.toLowerCase();
          row.hidden = !wanted.every((word) => text.includes(word));
          shown += row.hidden ? 0 : 1;
        }
        none.hidden = shown > 0;
      });
    }
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.textContent || rows.length < 2) return;
      head.dataset.sort = "0";
      head.addEventListener("click", () => {
        const way = head.dataset.sort === "1" ? -1 : 1;
        for (const other of heads) if (other.dataset.sort) other.dataset.sort = "0";
        head.dataset.sort = String(way);
        const key = (row) => row.cells[column].textContent.trim();
        const ordered = [...rows].sort((one, two) => {
          const [a, b] = [Number(key(one)), Number(key(two))];
          const numbers = key(one) !== "" && key(two) !== "" && !Number.isNaN(a) && !Number.isNaN(b);
          return way * (numbers ? a - b : key(one).localeCompare(key(two)));
        });
        body.append(...ordered);
      });
    });
  }
})();
