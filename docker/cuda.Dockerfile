# enas_jax on NVIDIA GPUs. From the root of a checkout:
#   docker build -f docker/cuda.Dockerfile -t enas .
#   docker run --gpus all -v "$PWD/runs:/runs" -w / enas ptb_search \
#     --preset=smoke --dataset=python_docs
# JAX's wheels bring CUDA; the host needs NVIDIA's driver and container toolkit.
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir '/src[cuda13]' && rm -rf /src
ENTRYPOINT ["enas"]
