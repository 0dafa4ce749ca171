// Opens or closes all code that is not the lesson; what was chosen is remembered in the browser.
const folds = () => document.querySelectorAll("details.hide");

function openAll(open) {
  folds().forEach((fold) => (fold.open = open));
  document.querySelector(".btn-code-switch").setAttribute("aria-pressed", open);
}

function switchCode() {
  const open = ![...folds()].every((fold) => fold.open);
  openAll(open);
  localStorage.setItem("code", open ? "open" : "closed");
}

// Paper has no switch: all of it is printed, and afterwards the page is as it was.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...folds()].filter((fold) => !fold.open);
  closed.forEach((fold) => (fold.open = true));
});
addEventListener("afterprint", () => closed.forEach((fold) => (fold.open = false)));

// Last, since it throws where a browser forbids to remember; the rest works there too.
openAll(localStorage.getItem("code") === "open");
