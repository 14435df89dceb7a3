# enas_jax on a Cloud TPU VM. From the root of a checkout:
#   docker build -f docker/tpu.Dockerfile -t enas .
#   docker run --privileged --net=host -v "$PWD/runs:/runs" -w / enas ptb_search \
#     --preset=smoke --dataset=python_docs
# The chips are devices of the host, and libtpu asks its metadata server.
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir '/src[tpu]' && rm -rf /src
ENTRYPOINT ["enas"]
