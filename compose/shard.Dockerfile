# A database server and the static binary, which starts it. BASE is any image
# with a mysqld or mariadbd in /usr/sbin.
ARG BASE=mysql:8.4
FROM ${BASE}
COPY --chown=65534:65534 data /data
COPY ringway /usr/local/bin/ringway
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/ringway"]
