# The server, or any other psychoscore command.
# For the CPU:   docker build -t psychoscore .
# For CUDA 12.8: docker build -t psychoscore --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY settings.ini setup.py constraints.txt README.md LICENSE MANIFEST.in ./
COPY psychoscore psychoscore
RUN python -m venv /opt/psychoscore \
 && /opt/psychoscore/bin/pip install --no-cache-dir --constraint constraints.txt --extra-index-url "$TORCH_INDEX" ".[serve]"

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home psychoscore
COPY --from=build /opt/psychoscore /opt/psychoscore
# One OpenMP thread: requests are decoded side by side in threads of the server's own.
ENV PATH=/opt/psychoscore/bin:$PATH OMP_NUM_THREADS=1 MPLCONFIGDIR=/tmp PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/psychoscore
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["psychoscore"]
CMD ["serve", "--host", "0.0.0.0", "--workers", "2"]
