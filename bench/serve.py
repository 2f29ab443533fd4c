"""How the server does under load, over loopback: speed, fairness, first segments, and a soak with a kill.

The soak has hostile and cancelled requests, too. One run measures both sides of a ratio in turn, on the same server. The
server gets two cores' worth of decoding threads (--workers). What was wanted stands beside what was measured, with a
verdict; a bar that is missed is said, and fails nothing.
Usage: python bench/serve.py [--rounds 3] [--soak 1000] [--out reports/bench/serve.json]
       python bench/serve.py --rounds 0 --out reports/bench/serve_soak.json
"""
import asyncio
import base64
import json
import operator
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from bench.common import make_parser, run_script, write_json
from psychoscore.notes import make_notes, midi_bytes

CLIENTS = 16
WARM_UP = 300  # requests of all kinds, before memory is measured: each process loads what it needs when it first meets a kind
SECONDS = 10  # of music in a request
LONG = 120  # of music in a piece that keeps the server at work
BARS = {  # what is wanted of each
    "speed of sixteen clients over one at a time": (">=", 3.0),
    "slowest of ten first segments, s": ("<", 0.3),
    "first segments of sixteen clients, p95, s": ("<", 0.3),
    "pieces of sixteen clients, p95, s": ("<", 2.0),
    "slowest of ten first segments beside sixteen long pieces, s": ("<", 0.3),
    "requests neither answered nor cleanly refused": ("<=", 0),
    "growth of memory after warm-up": ("<=", 0.10)}


class Server:
    "The command, in a process of its own; its memory and counts are read from /metrics."
    def __init__(self, workers, port=0):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([sys.executable, "-m", "psychoscore.cli", "serve", "--port", str(port), "--workers", str(workers)], stderr=self.log, env=os.environ | {"OMP_NUM_THREADS": "1"})
        while not (found := re.search(r"listening on (http://\S+?),", self._said())):
            if self.process.poll() is not None: raise RuntimeError(self._said())
            time.sleep(0.05)
        self.url = found[1]
        self.port = int(self.url.rsplit(":", 1)[1])
        httpx.get(f"{self.url}/readyz", timeout=60).raise_for_status()

    def _said(self):
        self.log.seek(0)
        return self.log.read()

    def metric(self, name):
        lines = [line for line in httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines() if re.match(rf"{name}(\{{|\s)", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def _children(self): return [int(pid) for thread in Path(f"/proc/{self.process.pid}/task").iterdir() for pid in (thread/"children").read_text().split()]

    def computing_s(self):
        "Seconds of computing of the server and its processes."
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in (self.process.pid, *self._children())]
        return sum(int(ticks) for field in fields for ticks in field[11:15])/os.sysconf("SC_CLK_TCK")  # of what has ended, too

    def idle_memory_mb(self):
        "Resident memory of the server and, as they come and go, of its processes on average, once nothing is decoded."
        while self.metric("psychoscore_rows") + self.metric("psychoscore_waiting"): time.sleep(0.1)
        time.sleep(2)
        children = self._children()
        return dict(server=resident_mb(self.process.pid), processes=len(children), a_process=statistics.mean(map(resident_mb, children)) if children else 0)


def resident_mb(pid): return int(Path(f"/proc/{pid}/statm").read_text().split()[1])*os.sysconf("SC_PAGE_SIZE")/2**20


def wish(seed, seconds=SECONDS):
    "A request like any other: the profile goes round the square."
    return {"profile": {"trauma": seed % 4/3, "entropy": seed//4 % 4/3}, "seconds": seconds, "seed": seed}


# --- speed

async def timed(client, seed):
    "Seconds that a piece takes."
    start = time.perf_counter()
    answer = await client.post("/v1/generate", json=wish(seed))
    answer.raise_for_status()
    return time.perf_counter() - start


async def one_at_a_time(client, seeds):
    "Pieces a second."
    start = time.perf_counter()
    for seed in seeds: await timed(client, seed)
    return len(seeds)/(time.perf_counter() - start)


async def side_by_side(client, seeds):
    "Pieces a second, and latencies; each client asks for a next piece when it has the last."
    left, latencies, start = iter(seeds), [], time.perf_counter()
    async def one():
        for seed in left: latencies.append(await timed(client, seed))
    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return len(seeds)/(time.perf_counter() - start), latencies


async def unfairness(client, seed):
    "The slowest of sixteen requests for the very same piece, made at once, against the fastest."
    times = await asyncio.gather(*(timed(client, seed) for _ in range(CLIENTS)))
    return max(times)/min(times)


async def first_segment(client, seed):
    "Seconds until the first segment is there; the piece is read to its end."
    start, first = time.perf_counter(), None
    async with client.stream("POST", "/v1/stream", json=wish(seed)) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if first is None and json.loads(line)["event"] == "segment": first = time.perf_counter() - start
    return first


async def first_segments(client, seeds):
    "The same of sixteen clients, each of which asks for a next piece when it has the last."
    left, found = iter(seeds), []
    async def one():
        for seed in left: found.append(await first_segment(client, seed))
    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return found


async def newcomers(client, n=10):
    "First segments of one piece after another, while sixteen long ones are drawn."
    async def long(seed):
        async with client.stream("POST", "/v1/stream", json=wish(seed, LONG)) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if json.loads(line)["event"] == "segment": begun.add(seed)
    begun, tasks = set(), [asyncio.create_task(long(seed)) for seed in range(CLIENTS)]
    while len(begun) < CLIENTS and not any(task.done() for task in tasks): await asyncio.sleep(0.01)
    found = [await first_segment(client, seed) for seed in range(n)]
    assert not any(task.done() for task in tasks), "the long pieces are too short"
    for task in tasks: task.cancel()  # which hangs up
    await asyncio.wait(tasks)
    return found


def summary(times): return dict(median=float(np.median(times)), p95=float(np.quantile(times, 0.95)), max=max(times), n=len(times))


async def speed(server, rounds, per_client=4):
    "Both ways in turn, with the same seeds."
    alone, together, latencies, unfair, streamed, costs = [], [], [], [], [], []
    async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=httpx.Limits(max_connections=None)) as client:
        await side_by_side(client, range(CLIENTS)) # warm
        first = [await first_segment(client, seed) for seed in range(10)]
        for turn in range(rounds):
            seeds, clock = [*range(100*turn, 100*turn + CLIENTS)], [server.computing_s()]
            alone.append(await one_at_a_time(client, seeds))
            clock.append(server.computing_s())
            rate, measured = await side_by_side(client, seeds*per_client)
            clock.append(server.computing_s())
            costs.append(np.diff(clock)/[len(seeds), per_client*len(seeds)])
            together.append(rate)
            latencies += measured
            streamed += await first_segments(client, seeds*per_client)
            unfair.append(await unfairness(client, turn))
        beside = await newcomers(client)
    ratios, cost = [b/a for a, b in zip(alone, together)], np.median(costs, 0).tolist()
    return dict(pieces_per_s=dict(one_at_a_time=statistics.median(alone), sixteen=statistics.median(together)), speedup=statistics.median(ratios), speedups=ratios,
                computing_s_per_piece=dict(one_at_a_time=cost[0], sixteen=cost[1]), latency_s=summary(latencies),
                same_piece_slowest_to_fastest=statistics.median(unfair),
                first_segment_s=summary(first), first_segment_of_sixteen_s=summary(streamed), first_segment_beside_long_s=summary(beside))


# --- soak

HOSTILE = [b"", b"{", b"[" * 50_000, b'{"profile": {"trauma": 7}}', b'{"seconds": 1e9}', b'{"seconds": NaN}', b'{"seed": -1}', b'{"unknown": 1}', b" " * 400_000,
           *(json.dumps({"prompt_midi": base64.b64encode(midi).decode()}).encode() for midi in (b"PK\3\4", b"MThd" + b"\xff"*60, random.Random(0).randbytes(2000)))]


UPLOAD = midi_bytes(make_notes(np.arange(2000)/8, np.full(2000, 0.2), 40 + np.arange(2000)*7 % 48, 80))


PROMPT = midi_bytes(make_notes(np.arange(20)/5, np.full(20, 0.2), 60 + np.arange(20) % 12, 80))


def piece(accept): return lambda n: ("/v1/generate", dict(json=wish(n, 4 + n % 5), headers={"Accept": accept}))


PLAIN = [*[piece("audio/midi")]*3, piece("application/json"), piece("audio/wav"), piece("application/vnd.recordare.musicxml+xml"),
         lambda n: ("/v1/generate", dict(json=wish(n, 4) | {"takes": 2})), lambda n: ("/v1/stream", dict(json=wish(n, 8))), lambda n: ("/v1/profile", dict(content=UPLOAD)),
         lambda n: ("/v1/generate", dict(json={"prompt_midi": base64.b64encode(PROMPT).decode(), "seconds": 6, "seed": n}))]


class Soak:
    "A crowd of clients, and the tally of what became of their requests."
    def __init__(self, total, seed=0):
        dice = random.Random(seed)
        kinds = ["hostile"]*(total//10) + ["cancelled"]*(total//10)
        self.kinds = kinds + ["plain"]*(total - len(kinds))
        dice.shuffle(self.kinds)
        self.tally, self.down = {}, False # `down` from the kill until the next server is ready

    def count(self, kind, outcome): self.tally[f"{kind}: {outcome}"] = self.tally.get(f"{kind}: {outcome}", 0) + 1

    async def ask(self, client, number, kind):
        "One request, to its end; what a kill cuts off, or a full queue sends away, is asked for again."
        while True:
            try: outcome, again = await getattr(self, f"_{kind}")(client, number), "sent away with 429"
            except httpx.TransportError as error:
                outcome = None if self.down else f"lost, {type(error).__name__}" # nothing but the kill may cut a request off
                again = "nobody listened" if isinstance(error, httpx.ConnectError) else "cut off by the kill"
            if outcome is not None: return self.count(kind, outcome)
            self.count("repeated", again)
            await asyncio.sleep(0.2)

    async def _plain(self, client, number):
        path, how = PLAIN[number % len(PLAIN)](number)
        answer = await client.post(path, **how)
        return None if answer.status_code == 429 else f"answered {answer.status_code}"

    async def _hostile(self, client, number):
        answer = await client.post("/v1/generate", content=HOSTILE[number % len(HOSTILE)], headers={"Content-Type": "application/json"})
        assert answer.json()["errors"]
        return f"refused {answer.status_code}"

    async def _cancelled(self, client, number):
        async with client.stream("POST", "/v1/stream", json=wish(number, 12)) as answer:
            if answer.status_code == 429: return None
            if answer.status_code != 200: return f"answered {answer.status_code}"
            async for line in answer.aiter_lines():
                if (event := json.loads(line)).get("number") == 1: return "hung up half-way"
        return f"ended with {event['event']}"

    @property
    def unclean(self):
        "How many were neither answered nor cleanly refused."
        clean = r"plain: answered (200|503|504)|hostile: refused 4\d\d|cancelled: (hung up half-way|ended with (done|error)|answered (503|504))"
        return len(self.kinds) - sum(n for said, n in self.tally.items() if re.fullmatch(clean, said))

    async def crowd(self, url, numbers):
        "Sixteen clients share the requests."
        left = iter(numbers)
        async with httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=None)) as client:
            async def work():
                for number in left: await self.ask(client, number, self.kinds[number])
            await asyncio.gather(*(work() for _ in range(CLIENTS)))


async def soak(server, workers, total):
    "A warm-up; requests of all kinds; half-way the server is killed and started again on its port; at the end it is told to stop while it works."
    crowd, began = Soak(total), time.monotonic()
    await Soak(WARM_UP, seed=1).crowd(server.url, range(WARM_UP))
    memory_mb = {"after warm-up": server.idle_memory_mb()}
    await crowd.crowd(server.url, range(total//2))
    memory_mb["first server's end"] = server.idle_memory_mb()
    task = asyncio.create_task(crowd.crowd(server.url, range(total//2, total)))
    await asyncio.sleep(2)
    crowd.down = True
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server = await asyncio.to_thread(Server, workers, server.port)
    crowd.down = False
    await task
    memory_mb["second server's end"] = server.idle_memory_mb()
    last = await stopped_at_work(server)
    return dict(requests=total, tally=dict(sorted(crowd.tally.items())), memory_mb=memory_mb, seconds=time.monotonic() - began, growth={of: max(m[of] for m in memory_mb.values())/memory_mb["after warm-up"][of] - 1 for of in ("server", "a_process")},
                told_to_stop=last, unclean=crowd.unclean + sum(answer not in (200, 503, "ConnectError") for answer in last)) # who found nobody listening was not accepted


async def stopped_at_work(server):
    "What eight clients are answered when the server is told to stop meanwhile."
    async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
        last = [asyncio.create_task(client.post("/v1/generate", json=wish(n))) for n in range(8)]
        while server.metric("psychoscore_rows") == 0: await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*last, return_exceptions=True)
    server.process.wait(120)
    return [getattr(answer, "status_code", type(answer).__name__) for answer in answers]


def verdicts(measured):
    "Each bar: what is wanted, what was measured, and whether it is met; nothing where it was not measured."
    meets = {">=": operator.ge, "<": operator.lt, "<=": operator.le}
    values = {bar: measured.get(bar) for bar in BARS}
    return {bar: dict(wanted=f"{sign} {wanted:g}", measured=values[bar], met=None if values[bar] is None else meets[sign](values[bar], wanted)) for bar, (sign, wanted) in BARS.items()}


def measured(report):
    "What there is for each bar."
    fast, soaked = report.get("speed"), report.get("soak")
    found = [fast["speedup"], fast["first_segment_s"]["max"], fast["first_segment_of_sixteen_s"]["p95"], fast["latency_s"]["p95"], fast["first_segment_beside_long_s"]["max"]] if fast else [None]*5
    return dict(zip(BARS, found + ([soaked["unclean"], max(soaked["growth"].values())] if soaked else [None]*2), strict=True))


def main():
    parser = make_parser(__doc__, "bench/serve.json")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="of the speed; 0 leaves it out")
    parser.add_argument("--soak", type=int, default=1000, help="requests; 0 leaves the soak out")
    args = parser.parse_args()
    server = Server(args.workers)
    try:
        report = dict(cpus=os.cpu_count(), workers=args.workers, clients=CLIENTS, seconds=SECONDS, load_average=os.getloadavg()[0])
        if args.rounds:
            report["speed"] = asyncio.run(speed(server, args.rounds))
            print(pd.json_normalize(report["speed"]).T.to_string(header=False))
        if args.soak:
            report["soak"] = asyncio.run(soak(server, args.workers, args.soak))
            print(json.dumps(report["soak"], indent=1))
    finally: server.process.kill()
    report["verdicts"] = verdicts(measured(report))
    print(pd.DataFrame(report["verdicts"]).T.to_string())
    print("missed:", "; ".join(bar for bar, said in report["verdicts"].items() if said["met"] is False) or "none")
    write_json(report, args.out)


if __name__ == "__main__": run_script(main)
