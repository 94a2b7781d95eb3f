const rows = [...document.querySelectorAll("article")];
const texts = rows.map((row) => row.textContent.toLowerCase());
const filter = document.querySelector("input"), shown = document.querySelector("output");
function update() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  rows.forEach((row, index) => {
    row.hidden = !words.every((word) => texts[index].includes(word));
    count += !row.hidden;
  });
  shown.textContent = `${count} of ${rows.length}`;
}
filter.addEventListener("input", update);
update();
