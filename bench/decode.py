"""How fast tokens come: our decoding against transformers.generate, what composing costs, and how near it is to the limit.

Both sides get the same weights, prompts, number of tokens, threads (OMP_NUM_THREADS) and sampling settings, and take turns.
The kernel takes turns with numpy, and eight candidates of every segment with eight takes of a whole piece. The limit is how fast one core reads memory, measured in the same run: a step reads all
weights once, and the keys and values of every row.
Usage: OMP_NUM_THREADS=2 python bench/decode.py [--rounds 5] [--tokens 256] [--out reports/bench/decode.json]
"""
import os
import platform
import statistics
import time

from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import transformers

from bench.common import make_parser, run_script, write_json
from psychoscore.compose import Composer
from psychoscore.decoding import Sampler, Sequence
from psychoscore.kernel import ENVIRONMENT, choose_kernel
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request, take_requests

ROWS = {1: 10.0, 8: 4.0, 32: 2.4}  # Rows -> how many times as fast as transformers we want to be
LENGTHS = (10, 30, 60, 180)  # s of music
PROFILE = PsychometricProfile(0.4, 0.6)


def alternate(rounds, **runs):
    "Let runs take turns, after one turn each to warm up: (seconds, seconds of computing, what the run returned) of every turn."
    log = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start, computing = time.perf_counter(), time.process_time()
            result = run(turn)
            if turn: log[name].append((time.perf_counter() - start, time.process_time() - computing, result))
    return log


def spread(values):
    "Median, least and most."
    return dict(median=statistics.median(values), min=min(values), max=max(values))


class Fixed(Sequence):
    "A sequence of a fixed number of tokens, whatever they are."
    def __init__(self, ids, seed, n_tokens):
        super().__init__(ids, seed)
        self.stop = len(ids) + n_tokens

    done = property(lambda self: len(self.ids) == self.stop)


def against_transformers(composer, rounds, n_tokens):
    "Tokens a second of both, without a grammar, at temperature 1."
    prompt = composer.draft(Request(PROFILE, seed=0, mode="minor")).ids
    table = []
    for n_rows, target in ROWS.items():
        def theirs(turn, n_rows=n_rows):
            torch.manual_seed(turn)
            ids = composer.model.generate(torch.tensor([prompt]*n_rows), attention_mask=torch.ones(n_rows, len(prompt), dtype=int), do_sample=True,
                                          temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=n_tokens, eos_token_id=None)
            assert ids.shape == (n_rows, len(prompt) + n_tokens)

        def ours(turn, n_rows=n_rows):
            sampler, sequences = Sampler(composer.weights), [Fixed(prompt, 1000*turn + i, n_tokens) for i in range(n_rows)]
            sampler.add(sequences)
            while sampler.sequences: sampler.step()
            assert all(s.done for s in sequences)

        log = alternate(rounds, theirs=theirs, ours=ours)
        speed, busy = ({name: spread([n_rows*n_tokens/turn[clock] for turn in turns]) for name, turns in log.items()} for clock in (0, 1))
        table.append(dict(rows=n_rows, transformers=speed["theirs"]["median"], ours=speed["ours"]["median"],
                          times=speed["ours"]["median"]/speed["theirs"]["median"], times_computing=busy["ours"]["median"]/busy["theirs"]["median"], wanted=target,
                          tokens_per_s=speed, tokens_per_s_computing=busy))
    return table


def composing(composer, rounds):
    "What a piece costs: by length, and until its first segment."
    def tokens_of(seconds, **options): return lambda turn: len(composer.compose(PROFILE, seconds, seed=turn, **options).ids)

    log = alternate(rounds, **{str(s): tokens_of(s) for s in LENGTHS},
                    first_segment=lambda turn: next(composer.stream(PROFILE, 30, seed=turn)))
    # Seconds of computing where costs are compared: whatever else runs on the machine, they are about the same
    per_token = {name: spread([1000*computing/tokens for _, computing, tokens in turns]) for name, turns in log.items() if name != "first_segment"}
    by_length = [dict(seconds=s, tokens=statistics.median(n for _, _, n in log[str(s)]), ms_per_token=per_token[str(s)]["median"],
                      music_s_per_s=statistics.median(s/t for t, _, _ in log[str(s)]), music_s_per_s_computing=statistics.median(s/t for _, t, _ in log[str(s)])) for s in LENGTHS]
    first, at_30_s = spread([seconds for seconds, _, _ in log["first_segment"]]), by_length[LENGTHS.index(30)]
    return by_length, dict(first_segment_s=first, first_segment_s_computing=spread([computing for _, computing, _ in log["first_segment"]]),
                           music_s_per_s=at_30_s["music_s_per_s"], music_s_per_s_computing=at_30_s["music_s_per_s_computing"], music_wanted=20,
                           longest_to_shortest=by_length[-1]["ms_per_token"]/by_length[0]["ms_per_token"], longest_to_shortest_wanted=1.25, ms_per_token=per_token)


def against_numpy(composer, rounds):
    "Seconds of computing of a piece of 30 s and of its eight takes, by what decodes here and by numpy."
    plain = Composer(composer.llama, composer.about)
    with patch.dict(os.environ, {ENVIRONMENT: "numpy"}): assert plain.weights.kernel is None  # looked up once, then kept
    def takes(who): return lambda turn: [p.ids.tobytes() for p in who.compose_batch(take_requests(Request(PROFILE, 30, seed=turn), 8))]
    def one(who): return lambda turn: who.compose(PROFILE, 30, seed=turn).ids.tobytes()
    log = alternate(rounds, here=one(composer), numpy=one(plain), takes=takes(composer))
    assert [turn[2] for turn in log["here"]] == [turn[2] for turn in log["numpy"]], "numpy composes another piece"
    cost = {name: spread([computing for _, computing, _ in turns]) for name, turns in log.items()}
    return dict(decodes_with=choose_kernel(composer.llama.shape).name or "numpy", s_per_piece=cost, times_numpy=cost["numpy"]["median"]/cost["here"]["median"],
                times_numpy_wanted=4.0, takes_music_s_per_s=8*30/cost["takes"]["median"], takes_wanted=20)


def by_segments(composer, request, n):
    "A piece of which every segment is one of n candidates: (draft, tokens of all candidates, lengths of all prompts that were read, seconds of forking)."
    sampler, draft, drawn, read, forking = Sampler(composer.weights), composer.draft(request), 0, [], 0.0
    prefill = sampler.decoder.prefill
    sampler.decoder.prefill = lambda prompts, *rows: read.extend(map(len, prompts)) or prefill(prompts, *rows)
    sampler.add([draft])
    while not draft.done:
        before, number, began = len(draft.ids), len(draft.starts), time.thread_time()
        candidates = sampler.fork(draft, n)
        forking += time.thread_time() - began
        under_way, draft = [*candidates], candidates[number % n]  # which one is kept is of no account here
        while under_way:
            sampler.step()
            for s in [s for s in under_way if s.done or len(s.starts) > number]:
                under_way.remove(s)
                if s.done: continue # the sampler has let go of it
                if s is draft: past = sampler.hold(s)
                else: sampler.drop(s)
        if not draft.done: sampler.resume(draft, past)
        drawn += sum(len(s.ids) - before for s in candidates)
    return draft, drawn, read, forking


def forks(composer, rounds, n=8, seconds=30):
    "What candidates of every segment cost, against as many takes of a whole piece; seconds of computing."
    def request(turn): return Request(PROFILE, seconds, seed=turn)
    def takes(turn): return sum(len(p.ids) for p in composer.compose_batch([Request(PROFILE, seconds, seed=8*turn + i) for i in range(n)]))
    log = alternate(rounds, candidates=lambda turn: by_segments(composer, request(turn), n), takes=takes)
    found = [dict(s_per_piece=spent, ms_per_token=1000*spent/drawn, forking=forking/spent, read=sum(read), kept=len(draft.ids), drawn=drawn)
             for _, spent, (draft, drawn, read, forking) in log["candidates"]]
    of_takes = statistics.median(1000*spent/tokens for _, spent, tokens in log["takes"])
    medians = {name: statistics.median(turn[name] for turn in found) for name in found[0]}
    return dict(candidates=n, seconds=seconds, **medians, takes_ms_per_token=of_takes, to_takes=medians["ms_per_token"]/of_takes)


def share_of_the_limit(composer, length=300, steps=40, rounds=5):
    "Bytes that a step must read, over its time, over what one core reads from memory; at a length of so many tokens."
    memory, shape = np.ones(64_000_000, np.float32), composer.llama.shape
    bandwidth = max(memory.nbytes/timed(memory.sum) for _ in range(rounds))
    weights, of_a_row = composer.weights.kernel.matrices.nbytes, 2*4*shape.layers*shape.width*(length + steps/2)
    def run(rows):
        decoder = composer.weights.decoder()
        decoder.prefill([np.full(length, 5)]*rows)
        return timed(lambda: [decoder.step(np.full(rows, 5)) for _ in range(steps)])/steps
    found = {rows: min(run(rows) for _ in range(rounds)) for rows in ROWS}
    return dict(read_gb_per_s=bandwidth/1e9, shares=[dict(rows=rows, ms=1000*s, share=(weights + rows*of_a_row)/s/bandwidth) for rows, s in found.items()])


def timed(run):
    "Seconds of computing."
    begun = time.thread_time()
    run()
    return time.thread_time() - begun


def grammar_cost(composer):
    "Milliseconds a token that the mask takes, over a piece written once more."
    request = Request(PROFILE, 30, seed=0)
    ids, draft, spent = composer.compose_batch([request])[0].ids.tolist(), composer.draft(request), 0.0
    while not draft.done:
        start = time.perf_counter()
        draft.allowed()
        spent += time.perf_counter() - start
        draft.push(ids[len(draft.ids)])
    assert draft.ids == ids
    return 1000*spent/len(ids)


def main():
    parser = make_parser(__doc__, "bench/decode.json")
    parser.add_argument("--model", help="checkpoint folder; the packaged model by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256, help="new tokens a row")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    composer = Composer.from_pretrained(args.model)
    rows = against_transformers(composer, args.rounds, args.tokens)
    by_length, summary = composing(composer, args.rounds)
    report = dict(threads=torch.get_num_threads(), cpus=os.cpu_count(), cpu=platform.processor() or platform.machine(), torch=torch.__version__,
                  transformers=transformers.__version__, rounds=args.rounds, tokens=args.tokens, rows=rows, by_length=by_length,
                  composing=summary, grammar_ms_per_token=grammar_cost(composer), kernel=against_numpy(composer, args.rounds), forks=forks(composer, args.rounds),
                  limit=share_of_the_limit(composer) if composer.weights.kernel else None)
    print(pd.DataFrame(rows).drop(columns=["tokens_per_s", "tokens_per_s_computing"]).round(1).to_string(index=False))
    print(pd.DataFrame(by_length).round(2).to_string(index=False))
    print(pd.Series({k: v for k, v in summary.items() if not isinstance(v, dict)} | {"first_segment_s": summary["first_segment_s"]["median"], "first_segment_s_computing": summary["first_segment_s_computing"]["median"],
                    "grammar_ms_per_token": report["grammar_ms_per_token"]}).round(3).to_string())
    print(pd.Series({k: v for k, v in report["kernel"].items() if not isinstance(v, dict)}).to_string())
    print(pd.Series(report["forks"]).round(3).to_string())
    if report["limit"]: print(f"one core reads {report['limit']['read_gb_per_s']:.1f} GB/s\n{pd.DataFrame(report['limit']['shares']).round(3).to_string(index=False)}")
    write_json(report, args.out)


if __name__ == "__main__": run_script(main)
