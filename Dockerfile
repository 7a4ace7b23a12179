# Two programs from one base: `--target teacher` serves, `--target worker` buys and trains.
#
# Both have the extra `onnx`, to serve ONNX models and to export students to them.
# By default the image installs the locked packages, CUDA included. TORCH_BACKEND=cpu installs PyTorch's CPU build instead
# (about a tenth of the size); it needs access to PyTorch's own package index.
FROM python:3.11-slim-bookworm AS base
ARG TORCH_BACKEND=""
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY pyproject.toml requirements.lock ./
RUN if [ -n "$TORCH_BACKEND" ]; then \
        uv pip install --system --no-cache --no-verify-hashes --torch-backend "$TORCH_BACKEND" \
            --constraint requirements.lock --extra onnx --requirement pyproject.toml; \
    else \
        uv pip install --system --no-cache --require-hashes --requirement requirements.lock; \
    fi
COPY README.md LICENSE ./
COPY shared shared
COPY teacher_service teacher_service
COPY distill_worker distill_worker
RUN uv pip install --system --no-cache --no-deps .
RUN useradd --uid 1000 --create-home tuition
WORKDIR /tuition
COPY examples examples

FROM base AS teacher
ENV TEACHER_HOST=0.0.0.0 \
    TEACHER_DATA_DIR=/data
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=90s --retries=3 CMD ["python", "-c", \
    "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["teacher-service"]
CMD ["serve"]

FROM base AS worker
USER 1000:1000
HEALTHCHECK NONE
ENTRYPOINT ["distill-worker"]
CMD ["--help"]
