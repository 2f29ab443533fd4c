# Any psychoscore command; the server, when none is given.
# The server:                     docker build -t psychoscore .
# What trains, too:               docker build -t psychoscore:train --target train .
# The same for CUDA 13.0:         docker build -t psychoscore:cuda --target train --build-arg TORCH=cu130 .   (cu126 for older drivers and cards)
# The server's image composes, listens, serves, searches and writes scores and figures. It leaves out the extra `train`: torch,
# transformers, accelerate and scikit-learn, which none of these needs.
# With a compiler, for the kernel in csrc/; the images that are made in the end have none.
FROM python:3.11-bookworm AS build
WORKDIR /src
COPY settings.ini setup.py constraints.txt README.md LICENSE MANIFEST.in ./
COPY psychoscore psychoscore
COPY csrc csrc
# The kernel is optional where psychoscore is installed, but not here. Nothing is installed into an image later, so pip goes.
RUN python -m venv /opt/psychoscore \
 && /opt/psychoscore/bin/pip install --no-cache-dir --constraint constraints.txt ".[serve]" \
 && /opt/psychoscore/bin/python -P -c "import psychoscore._kernel" \
 && /opt/psychoscore/bin/pip uninstall --yes setuptools pip

FROM build AS build-train
ARG TORCH=cpu
# Torch comes from the index of its build alone, and is pinned to that build: pip would else take another from PyPI.
RUN sed -i "s/^torch==.*/&+$TORCH/" constraints.txt \
 && { python -m pip --python /opt/psychoscore install --no-cache-dir --no-deps --constraint constraints.txt \
        --index-url "https://download.pytorch.org/whl/$TORCH" torch \
      || { echo "TORCH=$TORCH: no $(grep ^torch== constraints.txt) at https://download.pytorch.org/whl/$TORCH;" \
                "give --build-arg TORCH= a build that torch was published for, such as cpu, cu126 or cu130" >&2; exit 1; }; } \
 && python -m pip --python /opt/psychoscore install --no-cache-dir --constraint constraints.txt ".[train]"

FROM python:3.11-slim-bookworm AS run
# Whoever `--user` names can write here, as into /tmp; a volume that is mounted there keeps its own owner.
RUN install --directory --mode 1777 /data /runs
# HOME and LOGNAME: a user that is only a number has neither, and libraries ask for them.
# One OpenMP thread: requests are decoded side by side in threads of the server's own.
ENV PATH=/opt/psychoscore/bin:$PATH HOME=/tmp LOGNAME=psychoscore MPLCONFIGDIR=/tmp OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
# Without urllib, which would ask a proxy for 127.0.0.1 where Docker is told of one.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
CMD ["psychoscore", "serve", "--host", "0.0.0.0", "--workers", "2"]

FROM run AS train
COPY --from=build-train /opt/psychoscore /opt/psychoscore

# The last stage is what is built when none is named.
FROM run AS serve
COPY --from=build /opt/psychoscore /opt/psychoscore
