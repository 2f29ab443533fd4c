"""How fast vector searches are at 100,000 pieces, and how much they find: time to build, time of a query, recall.

CPU times are what to compare where other work shares the machine.
Usage: python bench/search.py [--pieces 100000] [--queries 200] [--out reports/bench/search.json]
"""
import json
import platform
import statistics
import time

import faiss
import numpy as np
import sklearn
from sklearn.neighbors import NearestNeighbors

from bench.common import make_parser, run_script, write_json
from psychoscore.search import nearest

WIDTH, K = 256, 10


def unit_vectors(rng, n):
    "Directions whose variances fall as 1/rank, nearly as those of embeddings do (20, 11, 6 and 5 per cent; these: 16, 8, 5, 4)."
    vectors = rng.standard_normal((n, WIDTH))*np.arange(1, WIDTH + 1)**-0.5
    return (vectors/np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def inverted_file(vectors):
    "Cells of some 300 pieces, 16 of which are looked through."
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(WIDTH), WIDTH, max(len(vectors)//316, 1))
    index.train(vectors[:20_000])
    index.add(vectors)
    index.nprobe = 16
    return index


def graph(vectors):
    "Neighbours of neighbours (HNSW)."
    index = faiss.IndexHNSWFlat(WIDTH, 32)
    index.add(vectors)
    index.hnsw.efSearch = 64
    return index


SEARCHES = { # name: (build from vectors, rows nearest to one query)
    "faiss, exact (ours)": (lambda vectors: vectors, lambda vectors, query: nearest(vectors, query, K).rows),
    "scikit-learn, exact": (lambda vectors: NearestNeighbors(n_neighbors=K, algorithm="brute").fit(vectors), lambda index, query: index.kneighbors(query[None])[1][0]),
    "faiss, inverted file": (inverted_file, lambda index, query: index.search(query[None], K)[1][0]),
    "faiss, graph": (graph, lambda index, query: index.search(query[None], K)[1][0]),
}


def timed(run):
    "The result, CPU seconds, wall seconds."
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def measure(name, vectors, queries, truth):
    "One row of the table."
    build, query_one = SEARCHES[name]
    index, build_cpu, build_wall = timed(lambda: build(vectors))
    query_one(index, queries[0])
    answers = [timed(lambda query=query: query_one(index, query)) for query in queries]
    recall = np.mean([len(set(rows.tolist()) & set(true.tolist()))/K for (rows, _, _), true in zip(answers, truth, strict=True)])
    return {"search": name, "build_cpu_s": round(build_cpu, 2), "build_wall_s": round(build_wall, 2),
            "query_cpu_ms": round(1000*statistics.median(a[1] for a in answers), 2), "query_wall_ms": round(1000*statistics.median(a[2] for a in answers), 2),
            "recall": round(float(recall), 3)}


def main():
    parser = make_parser(__doc__, "bench/search.json")
    parser.add_argument("--pieces", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    vectors, queries = unit_vectors(rng, args.pieces), unit_vectors(rng, args.queries)
    truth = np.argsort(-queries @ vectors.T, axis=1)[:, :K]
    report = {"pieces": args.pieces, "width": WIDTH, "k": K, "queries": args.queries, "threads": 1,
              "versions": {"faiss": faiss.__version__, "sklearn": sklearn.__version__, "python": platform.python_version()},
              "searches": [measure(name, vectors, queries, truth) for name in SEARCHES]}
    print(json.dumps(report, indent=1))
    write_json(report, args.out)


if __name__ == "__main__": run_script(main)
