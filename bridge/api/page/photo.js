/** The photo: drop, paste, choose, camera, sample; and the boxes that are drawn on it. */
import { byId, el, size } from "./dom.js";

/** The photo that is shown. @type {File | null} */
export let photo = null;
let address = "";
/** The boxes on the photo, as JSON. */
let drawn = "";

/**
 * Accept photos from every source.
 *
 * @param {(photo: File) => void} one called with a single photo, after it is shown
 * @param {(photos: File[]) => void} many called with several, and while the gallery is shown
 */
export function acceptPhotos(one, many) {
  const accept = (files) => {
    const photos = [...files]; // the bridge decides what is a photo
    if (photos.length > 1 || (photos.length && !byId("gallery").hidden)) many(photos);
    else if (photos.length) show(photos[0], one);
  };
  const stage = byId("stage");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? stage.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    accept(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData?.files.length && accept(event.clipboardData.files));
  for (const input of [byId("files"), byId("shot")]) {
    input.onchange = () => {
      accept(input.files);
      input.value = "";
    };
  }
  byId("choose").onclick = byId("empty").onclick = byId("more").onclick = () => byId("files").click();
  byId("camera").onclick = () => openCamera((file) => accept([file]));
  byId("sample").onclick = async () => {
    const bytes = await (await fetch("page/sample.jpg")).blob();
    accept([new File([bytes], "sample.jpg", { type: "image/jpeg" })]);
  };
}

function show(file, then) {
  photo = file;
  URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  const picture = byId("picture");
  drawBoxes([]);
  byId("filename").textContent = `${file.name} · ${size(file.size)}`;
  const shown = (works) => {
    byId("empty").hidden = true;
    byId("frame").hidden = !works;
    byId("unshown").hidden = works;
    if (works) byId("frame").style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
  };
  picture.onload = () => shown(true);
  picture.onerror = () => shown(false);
  picture.alt = file.name;
  picture.src = address;
  then(file);
}

/** Draw boxes on the photo. `x_min` and the others are fractions of the photo. @param {{box: any, label: string}[]} marks */
export function drawBoxes(marks) {
  const content = JSON.stringify(marks);
  if (content === drawn) return;
  drawn = content;
  const draw = ({ box, label }, number) => {
    const name = `${number + 1} ${label}`;
    const node = el("button.box", { title: name, data: { box: number } }, el("span", {}, name));
    Object.assign(node.style, {
      left: `${box.x_min * 100}%`,
      top: `${box.y_min * 100}%`,
      width: `${(box.x_max - box.x_min) * 100}%`,
      height: `${(box.y_max - box.y_min) * 100}%`,
    });
    // Small boxes lie above large ones, so that each can be pointed at.
    node.style.zIndex = 1000 - Math.round((box.x_max - box.x_min) * (box.y_max - box.y_min) * 999);
    return node;
  };
  byId("boxes").replaceChildren(...marks.map(draw));
}

/** Light up a box and the rows about it while one of them is hovered or focused. A click leads to the other. */
export function linkBoxes() {
  const light = (event) => {
    const number = event.target.closest?.("[data-box]")?.dataset.box;
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-box]")))
      node.classList.toggle("lit", node.dataset.box === number);
  };
  document.addEventListener("pointerover", light);
  document.addEventListener("focusin", light);
  document.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest?.("button[data-box]");
    if (!button) return;
    const number = button.getAttribute("data-box");
    const other = button.closest(".boxes") ? `tr[data-box="${number}"]` : `.box[data-box="${number}"]`;
    document.querySelector(other)?.scrollIntoView({ block: "nearest" });
  });
}

/** Take a photo: by the phone's own camera application, else in a dialog. */
async function openCamera(take) {
  if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices) return byId("shot").click();
  const [dialog, video] = [byId("lens"), byId("video")];
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    byId("filename").textContent = "No camera, or no permission to use it";
    return;
  }
  video.srcObject = stream;
  dialog.onclose = () => stream.getTracks().forEach((track) => track.stop());
  byId("leave").onclick = () => dialog.close();
  byId("snap").onclick = () => {
    const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => blob && take(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
    dialog.close();
  };
  dialog.showModal();
}
