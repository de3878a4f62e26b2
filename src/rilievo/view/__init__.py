"""The viewer's server side: houses and files to a scene that a browser draws, measures in it, saves and shares it.

`scene.ViewScene(paths).answer(place, query, body)` serves all of it, below any address. What the page must know:

- Coordinates are float32 relative to `origin` (float64), z up or whatever `up` says. `cam_from_world` of photos is for
  them. `saved.scale`, `.up` and `.origin` are to be applied when showing; points that are sent back are before them.
- `rev` changes with every layer that is ready; while `busy`, ask again with ?rev=N: `{"unchanged": true}` is cheap.
  `problems` lists layers that cannot be made: layer, error, why, hint.
- Layers have id, house (number in `houses`), version (another one: load it again), kind, name, visible (at first),
  count, bytes, and by kind:
  mesh: `levels` coarse to fine, GLB whose nodes carry it to the scene's axes; unlit where it has colours; vertex
  attribute _SIGMA (-1: unknown).
  cloud, sparse: `nodes`, the root first; a child adds points to its parent's. Bytes of a node: float32 xyz, then uint8
  sRGB, then float32 sigma (cloud) or reprojection error in px (sparse), -1 unknown; the last part is not aligned to 4.
  splats: `url` of an SPZ and `matrix`, scene from file, column by column; `stream`, where frames are drawn here.
  holes: `lines` and their `lengths`.  inferred: `url` of a GLB.
- Photos keep their number while a build goes on: url (size to choose), thumb, depth, why, and what is known of them.
- Errors are documents {"error", "why", "hint"} with status 400; what is not there is 404.
- Shared pages find their data at window.rilievoShare, see web/viewer/share_boot.js and `inline`.
"""
