"""Time and memory of one contrastive loss in float32, forward and backward.

On a CPU it is the time of computing, so other programs count for little; with several threads it is the sum of theirs.
Usage: python bench/contrastive.py [--batch 512] [--width 256] [--device cpu] [--out reports/bench/contrastive.json]
"""
import statistics
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.common import make_parser, run_script, write_json
from psychoscore.contrastive import LOSSES, contrastive_loss


class Allocated(TorchDispatchMode):
    "The largest tensor that any operation makes."
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor))])
        return result


def step(kind, embeddings, profiles):
    "One loss and its gradient."
    contrastive_loss(embeddings, profiles, kind=kind).backward()
    if embeddings.is_cuda: torch.cuda.synchronize()


def bench(kind, batch, width, device, repeats):
    "Quartiles of the milliseconds, and the size of the largest tensor in units of batch squared."
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(batch, width, generator=generator).to(device).requires_grad_()
    profiles = torch.rand(batch, 2, generator=generator)
    for _ in range(3): step(kind, embeddings, profiles)
    milliseconds, now = [], time.perf_counter if embeddings.is_cuda else time.process_time
    for _ in range(repeats):
        start = now()
        step(kind, embeddings, profiles)
        milliseconds.append(1e3*(now() - start))
    with Allocated() as allocated: step(kind, embeddings, profiles)
    first_quartile, median, third_quartile = statistics.quantiles(milliseconds, n=4, method="inclusive")
    return dict(median_ms=median, first_quartile_ms=first_quartile, third_quartile_ms=third_quartile, largest_tensor=allocated.numel/batch**2)


def main():
    parser = make_parser(__doc__, "bench/contrastive.json")
    parser.add_argument("--batch", type=int, default=512, help="pieces in the batch")
    parser.add_argument("--width", type=int, default=256, help="width of an embedding")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    measured = {kind: bench(kind, args.batch, args.width, args.device, args.repeats) for kind in LOSSES}
    report = dict(batch=args.batch, width=args.width, precision="float32", device=args.device, threads=torch.get_num_threads(), repeats=args.repeats, losses=measured)
    write_json(report, args.out)
    print(f"{'kind':18}{'median ms':>10}{'quartiles':>16}{'largest tensor / batch^2':>28}   batch {args.batch}, width {args.width}, {args.device}, {report['threads']} threads")
    for kind, cost in measured.items():
        print(f"{kind:18}{cost['median_ms']:10.1f}{cost['first_quartile_ms']:10.1f}{cost['third_quartile_ms']:6.1f}{cost['largest_tensor']:28.2f}")


if __name__ == "__main__": run_script(main)
