# Any psychoscore command; the server, when none is given.
# For the CPU:   docker build -t psychoscore .
# For CUDA 13.0: docker build -t psychoscore:cuda --build-arg TORCH=cu130 .   (cu126 for older drivers and cards)
# With a compiler, for the kernel in csrc/; the image that is made in the end has none.
FROM python:3.11-bookworm AS build
ARG TORCH=cpu
WORKDIR /src
COPY constraints.txt ./
# Torch comes from the index of its build alone, and is pinned to that build: pip would else take another from PyPI.
RUN python -m venv /opt/psychoscore \
 && sed -i "s/^torch==.*/&+$TORCH/" constraints.txt \
 && { /opt/psychoscore/bin/pip install --no-cache-dir --no-deps --constraint constraints.txt \
        --index-url "https://download.pytorch.org/whl/$TORCH" torch \
      || { echo "TORCH=$TORCH: no $(grep ^torch== constraints.txt) at https://download.pytorch.org/whl/$TORCH;" \
                "give --build-arg TORCH= a build that torch was published for, such as cpu, cu126 or cu130" >&2; exit 1; }; }
COPY settings.ini setup.py README.md LICENSE MANIFEST.in ./
COPY psychoscore psychoscore
COPY csrc csrc
RUN /opt/psychoscore/bin/pip install --no-cache-dir --constraint constraints.txt ".[train,serve]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/psychoscore /opt/psychoscore
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
