# Every image of the project, one target each: operator, sync, triton-light, model-server.
#   docker build --target operator -t clipmodel-operator:dev .
# Builds with BuildKit and without it (Debian's Docker has no buildx): no heredocs, no cache mounts, no COPY --chmod. Without BuildKit all
# stages above a target are built too, hence the order: small and rarely changed first. Code comes last in each image, so that an edit
# rebuilds one small layer. Where the build's own network cannot resolve names: docker build --network host.

# What every image stands on. `apt-get clean` is for base images that lack Docker's own hooks.
FROM debian:bookworm-slim AS base
ENV ORT_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_TELEMETRY=1 PYTHONDONTWRITEBYTECODE=1
# The user that writes the volume and the one that reads it have the same ids (docs/spec/sync.md). /tmp is the one writable place there is.
RUN groupadd --gid 1000 clipmodel && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin clipmodel

# Debian's nginx serving /models: where the demo and the tests put a model for the sync Job to fetch. `kubectl cp` works too (tar is there).
FROM base AS model-server
RUN apt-get update && apt-get install -y --no-install-recommends nginx-core \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/www/html \
 && mkdir /models && chown 1000:1000 /models
COPY model_server/nginx.conf /etc/nginx/nginx.conf
USER 1000:1000
EXPOSE 8080
# `-e`: nginx opens an error log before it reads where the configuration wants it, in a place that is not writable.
ENTRYPOINT ["nginx", "-e", "/dev/stderr", "-g", "daemon off;"]

FROM base AS python
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

# pip and the builder live in /opt/build; what they install for an image goes into a virtual environment without pip, copied as a whole.
FROM python AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && apt-get clean && rm -rf /var/lib/apt/lists/*
# PIP_CERT: Debian's certificates instead of pip's own, so that a proxy's certificate that the base image trusts is trusted here too.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/build.txt /build/requirements/
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --no-deps --require-hashes -r /build/requirements/build.txt
WORKDIR /build

# A lock is complete: --no-deps keeps pip from resolving anything by itself.
FROM build AS operator-requirements
COPY requirements/operator.txt requirements/
RUN python3 -m venv --without-pip /opt/clipmodel \
 && /opt/build/bin/pip --python /opt/clipmodel/bin/python install --no-deps --require-hashes -r requirements/operator.txt

# The wheel is made of one program and the contract only, so that the other one's edits leave it alone. The README is the wheel's description: no image shows it.
FROM build AS operator-program
COPY pyproject.toml LICENSE ./
COPY operator/clipmodel_contract operator/clipmodel_contract
COPY operator/clipmodel_operator operator/clipmodel_operator
RUN touch README.md && python3 -m venv --without-pip /opt/clipmodel \
 && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/build/bin/pip --python /opt/clipmodel/bin/python install --no-deps dist/*.whl \
 && mkdir -p /out/bin && mv /opt/clipmodel/bin/clipmodel /out/bin/ && mv /opt/clipmodel/lib /out/lib

FROM python AS operator
ENV PATH=/opt/clipmodel/bin:/usr/local/bin:/usr/bin:/bin
COPY --from=operator-requirements /opt/clipmodel /opt/clipmodel
COPY --from=operator-program /out /opt/clipmodel
USER 1000:1000
ENTRYPOINT ["clipmodel", "operator"]

FROM build AS sync-requirements
COPY requirements/sync.txt requirements/
RUN python3 -m venv --without-pip /opt/clipmodel \
 && /opt/build/bin/pip --python /opt/clipmodel/bin/python install --no-deps --require-hashes -r requirements/sync.txt

FROM build AS sync-program
COPY pyproject.toml LICENSE ./
COPY operator/clipmodel_contract operator/clipmodel_contract
COPY operator/clipmodel_sync operator/clipmodel_sync
RUN touch README.md && python3 -m venv --without-pip /opt/clipmodel \
 && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/build/bin/pip --python /opt/clipmodel/bin/python install --no-deps dist/*.whl \
 && mkdir -p /out/bin && mv /opt/clipmodel/bin/clipmodel-sync /out/bin/ && mv /opt/clipmodel/lib /out/lib

FROM python AS sync
ENV PATH=/opt/clipmodel/bin:/usr/local/bin:/usr/bin:/bin
COPY --from=sync-requirements /opt/clipmodel /opt/clipmodel
COPY --from=sync-program /out /opt/clipmodel
USER 1000:1000
ENTRYPOINT ["clipmodel-sync"]

# Triton 2.51 (CPU) for laptops, demos and tests: the server and its Python backend out of the wheel, without the library around them.
# x86-64 only, like the wheel. Python packages go where Debian's interpreter looks by itself, libraries where ldconfig finds them: the image
# depends on no environment variable that a pod might set otherwise.
FROM build AS triton-light-files
COPY requirements/triton-light.txt requirements/
RUN [ "$(uname -m)" = x86_64 ] || { echo "triton-light is for x86-64 only: build with --platform linux/amd64, or use NVIDIA's image" >&2; exit 1; }
RUN /opt/build/bin/pip install --no-deps --require-hashes --target /site -r requirements/triton-light.txt \
 && wheel=/site/pytriton/tritonserver && to=/out/opt/tritonserver \
 && mkdir -p $to/bin $to/backends/python $to/backends/onnxruntime /out/etc/ld.so.conf.d /out/usr/local/lib/python3.11 \
 && mv $wheel/bin/tritonserver $to/bin/ \
 && mv $wheel/backends/python/* $wheel/python_backend_stubs/3.11/triton_python_backend_stub $to/backends/python/ \
 && mv /site/nvidia_pytriton.libs $to/lib && rm $to/lib/libpython3* \
 && mv /site/nvidia_pytriton-*.dist-info/licenses/LICENSE $to/LICENSE \
 && rm -rf /site/bin /site/pytriton /site/nvidia_pytriton-* /site/numpy/tests /site/numpy/*/tests /site/onnxruntime/tools /site/onnxruntime/transformers \
 && mv /site /out/usr/local/lib/python3.11/dist-packages \
 && echo /opt/tritonserver/lib >/out/etc/ld.so.conf.d/tritonserver.conf

FROM python AS triton-light
# The Python backend's stub embeds this interpreter.
RUN apt-get update && apt-get install -y --no-install-recommends libpython3.11 && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=triton-light-files /out /
RUN ldconfig && ln -s /opt/tritonserver/bin/tritonserver /usr/local/bin/tritonserver
COPY triton_light/model.py /opt/tritonserver/backends/onnxruntime/model.py
USER 1000:1000
EXPOSE 8000 8001 8002
CMD ["tritonserver", "--help"]
