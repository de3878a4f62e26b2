/* Starts a page that `rilievo share` wrote: unpacks the modules and the files that lie in it, without any network.

   Elements of type application/json hold: #rilievo-scene the manifest, as scene.json has it; #rilievo-files
   {address: gzip as base64}, addresses as in the manifest; #rilievo-modules {modules: {address: gzip as base64},
   names: {bare name: address}, entries: [address]}.

   The page's modules find both at window.rilievoShare = {scene, file(address) -> Promise<ArrayBuffer>}. */
(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const unpack = async (text) => {
    const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const files = read("rilievo-files");
  window.rilievoShare = {
    scene: read("rilievo-scene"),
    file(address) {
      const text = files[address.split("?")[0]];
      return text === undefined ? Promise.reject(new Error(`${address} is not in this page`)) : unpack(text);
    },
  };
  const start = async () => {
    const { modules, names, entries } = read("rilievo-modules");
    const imports = {};
    for (const [name, text] of Object.entries(modules)) {
      const source = await unpack(text);
      imports[name] = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    }
    for (const [name, module] of Object.entries(names)) imports[name] = imports[module];
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
    for (const entry of entries) await import(entry);
  };
  start().catch((error) => {
    const note = document.createElement("p");
    note.textContent = `This browser cannot show the model: ${error.message}`;
    note.setAttribute("role", "alert");
    document.body.append(note);
  });
})();
