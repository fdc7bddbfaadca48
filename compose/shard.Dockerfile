# A database server and the static binary, which starts it. BASE is what
# compose/base.go found or made.
ARG BASE
FROM ${BASE}
COPY --chown=65534:65534 data /data
COPY ringway /usr/local/bin/ringway
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/ringway"]
