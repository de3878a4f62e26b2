// One photo of a house: its name, whether it has been looked at, its small picture.

import { el, local } from "./dom.js";

/** Its own name; a disk may not take every one, then `name` is another. */
export const nameOf = (photo) => photo.given ?? photo.name;

/** Whether sharpness and small picture, which come a little after the file, are still to come. */
export const waits = (photo) => photo.checked === false;

/** Shows its small picture in `picture`, as soon as there is one. */
export function paintPicture(picture, photo) {
  const thumb = local(photo.thumb);
  if (waits(photo)) {
    if (!picture.firstChild) picture.append(el("span.dim", {}, "looking at it …"));
  } else if (thumb && picture.dataset.thumb !== thumb) {
    picture.dataset.thumb = thumb;
    picture.replaceChildren(el("img", { src: thumb, alt: nameOf(photo), loading: "lazy", decoding: "async" }));
  }
}
