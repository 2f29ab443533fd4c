// The model's steps in WebAssembly: rows of tokens that it continues side by side, as Python's KernelDecoder does.
// kernel.wasm is csrc/page.c, compiled; what its functions take is in csrc/kernel.h.

export { makeNoise } from "./noise.js";

const BLOCK = 64; // Outputs of a matrix that lie side by side, as csrc/kernel.h has it
const AT_ONCE = 64; // Rows that pass through the kernel together
const SHAPE = ["num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings"]; // Of config.json, in the kernel's order

// A safetensors file: numbers of 16 bits by name, each a bf16
function readTensors(file) {
  const size = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, size)));
  delete header.__metadata__;
  return new Map(Object.entries(header).map(([name, { dtype, data_offsets: [from, to] }]) => {
    if (dtype !== "BF16") throw new Error(`weights must be BF16, and ${name} is ${dtype}`);
    return [name, new Uint16Array(file.slice(8 + size + from, 8 + size + to))];
  }));
}

const widened = halves => new Float32Array(Uint32Array.from(halves, half => half << 16).buffer);

// Matrices (out, in), one below the other, written as (out/BLOCK, in, BLOCK) from `at` on; gives where they end
function layOut(matrices, width, into, at) {
  let out = 0;
  for (const matrix of matrices) for (let from = 0; from < matrix.length; from += width, out++) {
    const to = at + (out - out % BLOCK) * width + out % BLOCK;
    for (let i = 0; i < width; i++) into[to + i * BLOCK] = matrix[from + i];
  }
  return at + Math.ceil(out / BLOCK) * BLOCK * width;
}

// By how much queries and keys turn at every position, (context, D/2); rounded to float32 at every step as transformers does
function rotaryAngles(context, half, theta) {
  const frequencies = Float32Array.from({ length: half }, (_, i) => 1 / Math.fround(theta ** Math.fround(i / half)));
  return Float64Array.from({ length: context * half }, (_, i) => Math.fround(Math.floor(i / half) * frequencies[i % half]));
}

class Engine {
  #kernel; #top; #shape; #weights; #plain; #work; #logits; #referee; #numbers = { at: 0, room: 0 }; #caches = []; #spare = []; // Addresses of the kernel's memory; spare caches are of rows that were dropped

  constructor(kernel, tensors, config) {
    const [layers, heads, width, mlp, vocabulary, context] = SHAPE.map(name => config[name]);
    Object.assign(this, { layers, heads, vocabulary, context, config, lengths: [] }); // lengths: tokens of each row
    this.#kernel = kernel;
    this.#top = kernel.__heap_base.value;
    this.#shape = this.#room(36);
    this.#floats(this.#shape + 32, 1)[0] = config.rms_norm_eps;
    this.conditionRows = config.condition_rows ?? 0;
    this.#describe(this.conditionRows && 1);
    const complaint = kernel.complaint(this.#shape);
    if (complaint) throw new Error(`the kernel does not take this model: ${this.#text(complaint)}`);
    const tensor = (name, size) => {
      const found = tensors.get(name);
      if (found?.length !== size) throw new Error(`the weights are not those of the model in config.json: ${name} has ${found?.length ?? "no"} numbers, not ${size}`);
      return found;
    };
    const each = f => Array.from({ length: layers }, (_, layer) => f((name, size) => tensor(`model.layers.${layer}.${name}.weight`, size)));
    const embedding = tensor("model.embed_tokens.weight", vocabulary * width), last = tensor("model.norm.weight", width);
    const head = config.tie_word_embeddings ? embedding : tensor("lm_head.weight", vocabulary * width);
    const condition = this.conditionRows ? tensor("condition.weight", this.conditionRows * width) : [];
    const size = kernel.weight_size(this.#shape);
    this.#weights = this.#room(2 * size);
    const into = new Uint16Array(kernel.memory.buffer, this.#weights, size), square = width * width;
    let at = 0;
    for (const [query, key, value, out, gate, up, down] of each(of => [..."qkvo"].map(name => of(`self_attn.${name}_proj`, square)).concat(
      ["gate", "up", "down"].map(name => of(`mlp.${name}_proj`, mlp * width))))) {
      at = layOut([query, key, value], width, into, at);
      at = layOut([out], width, into, at);
      at = layOut([gate, up], width, into, at);
      at = layOut([down], mlp, into, at);
    }
    layOut([head], width, into, at);
    const gains = name => each(of => widened(of(name, width)));
    const angles = rotaryAngles(context, width / heads / 2, config.rope_parameters.rope_theta);
    const turns = this.turns = [angles.map(Math.cos), angles.map(Math.sin)];
    const plain = [widened(embedding), ...gains("input_layernorm"), ...gains("post_attention_layernorm"), widened(last), ...turns, widened(condition)];
    this.#plain = this.#room(4 * kernel.plain_size(this.#shape));
    for (let at = this.#plain; plain.length; at += 4 * plain.shift().length) this.#floats(at, plain[0].length).set(plain[0]);
    this.#work = this.#room(4 * kernel.work_size(this.#shape, AT_ONCE));
    this.#logits = this.#room(4 * AT_ONCE * kernel.padded(vocabulary));
  }

  // Begin a row with a prompt: ids, and for each as many rows of the table of conditions. Gives its number and the logits after it.
  add(ids, conditions) {
    this.#check(ids, conditions);
    this.#caches.push(this.#cache());
    this.lengths.push(0);
    const row = this.lengths.length - 1;
    return { row, logits: this.reset(row, ids, conditions) };
  }

  // Begin a row anew; gives the logits after the prompt.
  reset(row, ids, conditions) {
    this.#check(ids, conditions);
    const many = ids.length, places = Array.from(ids, (_, i) => i);
    const logits = this.#run(ids, conditions, places, Array(many).fill(this.#caches[row]), many - 1);
    this.lengths[row] = many;
    return logits;
  }

  // Give every row its next token; logits after it, one row after another.
  step(tokens, conditions) {
    if (tokens.length !== this.lengths.length) throw new Error(`expected a token for every row, got ${tokens.length} for ${this.lengths.length}`);
    this.#check(tokens, conditions, Math.max(...this.lengths) + 1);
    const logits = this.#run(tokens, conditions, this.lengths, this.#caches, 0);
    this.lengths = this.lengths.map(length => length + 1);
    return logits;
  }

  // Take a row out; the last one takes its place.
  take(row) {
    const past = { cache: this.#caches[row], length: this.lengths[row] };
    this.#caches[row] = this.#caches.at(-1);
    this.lengths[row] = this.lengths.at(-1);
    this.#caches.pop();
    this.lengths.pop();
    return past;
  }

  // Add a row that was taken out, after those there are.
  put({ cache, length }) {
    this.#caches.push(cache);
    this.lengths.push(length);
  }

  // Forget a row; the last one takes its place.
  drop(row) { this.#spare.push(this.take(row).cache); }

  // Add copies of a row, after those there are.
  fork(row, copies) {
    const { layers, heads, context, config } = this, length = this.lengths[row], from = this.#caches[row];
    const part = context * config.hidden_size / heads * 4, used = part / context * Math.ceil(length / 16) * 16; // keys lie sixteen positions side by side
    for (let copy = 0; copy < copies; copy++) {
      const to = this.#cache(), bytes = new Uint8Array(this.#kernel.memory.buffer);
      for (let at = 0; at < layers * 2 * heads * part; at += part) bytes.copyWithin(to + at, from + at, from + at + used);
      this.put({ cache: to, length });
    }
  }

  // Logits after a prompt in double precision, from its tokens alone.
  referee(ids, conditions) {
    this.#check(ids, conditions);
    const kernel = this.#kernel, { context, vocabulary } = this;
    this.#describe(conditions.length / ids.length);
    if (!this.#referee) {
      const parts = [16 * this.turns[0].length, 8 * kernel.padded(vocabulary), 8 * kernel.referee_size(this.#shape, context)];
      const [turns, logits, work] = parts.map(bytes => this.#room(bytes));
      this.turns.forEach((of, i) => new Float64Array(kernel.memory.buffer, turns + 8 * i * of.length, of.length).set(of));
      this.#referee = { turns, logits, work };
    }
    const { turns, logits, work } = this.#referee, [tokens, held] = this.#integers(ids, conditions);
    kernel.referee(this.#shape, this.#weights, this.#plain, turns, this.config.rms_norm_eps, ids.length, tokens, held, logits, work);
    return new Float64Array(kernel.memory.buffer, logits, vocabulary).slice();
  }

  // Feed a token to every row, of which one may come more than once; logits of those from `first` on
  #run(tokens, conditions, lengths, caches, first) {
    const kernel = this.#kernel, { vocabulary } = this, wide = kernel.padded(vocabulary), each = conditions.length / tokens.length;
    const logits = new Float32Array((tokens.length - first) * vocabulary);
    this.#describe(each);
    for (let at = 0; at < tokens.length; at += AT_ONCE) {
      const to = Math.min(at + AT_ONCE, tokens.length);
      const given = [tokens.slice(at, to), conditions.slice(at * each, to * each), lengths.slice(at, to), caches.slice(at, to)];
      kernel.step(this.#shape, this.#weights, this.#plain, to - at, ...this.#integers(...given), this.#logits, this.#work);
      for (let row = Math.max(at, first); row < to; row++)
        logits.set(this.#floats(this.#logits + 4 * wide * (row - at), vocabulary), vocabulary * (row - first));
    }
    return logits;
  }

  #check(ids, conditions, length = ids.length) { // length: tokens of the longest row, with these
    const each = conditions.length / ids.length, within = (values, end) => values.every(value => value >= 0 && value < end);
    if (!(length >= 1 && length <= this.context)) throw new Error(`a row must have 1 to ${this.context} tokens, got ${length}`);
    if (!Number.isInteger(each) || !each !== !this.conditionRows || !within(conditions, this.conditionRows) || !within(ids, this.vocabulary))
      throw new Error("tokens or conditions are not those of this model");
  }

  // The shape as csrc/kernel.h has it, with so many conditions a token
  #describe(each) { new Int32Array(this.#kernel.memory.buffer, this.#shape).set([...SHAPE.map(name => this.config[name]), each, this.conditionRows]); }

  // Copies of integers, one array after another, in room that the next call uses again; gives where each begins
  #integers(...arrays) {
    const bytes = 4 * arrays.reduce((sum, array) => sum + array.length, 0);
    if (bytes > this.#numbers.room) this.#numbers = { at: this.#room(bytes), room: bytes };
    let { at } = this.#numbers;
    return arrays.map(array => {
      new Int32Array(this.#kernel.memory.buffer, at, array.length).set(array);
      const here = at;
      at += 4 * array.length;
      return here;
    });
  }

  #cache() { return this.#spare.pop() ?? this.#room(4 * this.#kernel.cache_size(this.#shape)); } // New memory holds zeros

  #room(bytes) {
    const { memory } = this.#kernel, at = this.#top;
    this.#top += Math.ceil(bytes / 64) * 64;
    const missing = this.#top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  #floats(at, many) { return new Float32Array(this.#kernel.memory.buffer, at, many); }

  #text(at) {
    const bytes = new Uint8Array(this.#kernel.memory.buffer, at);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }
}

// wasm: kernel.wasm; weights: model.safetensors, both as ArrayBuffer; config: config.json, parsed
export async function loadEngine({ wasm, weights, config }) {
  const { instance } = await WebAssembly.instantiate(wasm);
  return new Engine(instance.exports, readTensors(weights), config);
}
