// Arrays of a file that numpy.savez_compressed wrote.

const KINDS = { "|i1": Int8Array, "<f4": Float32Array };
const STORED = 0, DEFLATED = 8; // How a member of a zip archive is kept

const inflate = bytes => new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();

function readNpy(buffer) {
  const head = new TextDecoder("latin1").decode(new Uint8Array(buffer, 10, new DataView(buffer).getUint16(8, true)));
  const [, kind] = head.match(/'descr': '([^']*)'/), [, shape] = head.match(/'shape': \(([^)]*)\)/);
  if (!(kind in KINDS) || head.includes("'fortran_order': True")) throw new Error(`an array that cannot be read: ${head.trim()}`);
  const data = new KINDS[kind](buffer.slice(10 + head.length));
  return { data, shape: shape.split(",").filter(size => size.trim()).map(Number) };
}

// From an ArrayBuffer to { name: { data, shape } }.
export async function readNpz(buffer) {
  const view = new DataView(buffer), arrays = {};
  let end = buffer.byteLength - 22; // of a zip archive without a comment
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) throw new Error("not a zip archive");
  let at = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count; count--) {
    const [method, size, local] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
    const [named, extra, comment] = [28, 30, 32].map(place => view.getUint16(at + place, true));
    const name = new TextDecoder().decode(new Uint8Array(buffer, at + 46, named)).replace(/\.npy$/, "");
    const begins = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const bytes = buffer.slice(begins, begins + size);
    if (method !== STORED && method !== DEFLATED) throw new Error(`${name} is compressed in an unknown way, ${method}`);
    arrays[name] = readNpy(method === STORED ? bytes : await inflate(bytes));
    at += 46 + named + extra + comment;
  }
  return arrays;
}
