# The images of Tickwire's server and operator: their programs, the few libraries these use, and nothing else, so neither shell nor packages.
# They run as nobody in particular and write to no file system.
#
#     docker build --target server --build-arg VERSION=0.1.0 --tag tickwire/server:0.1.0 .
#     docker build --target operator --build-arg VERSION=0.1.0 --tag tickwire/operator:0.1.0 .
#
# With --build-arg BINARIES=compiled the programs are not built here, but taken from the folder `compiled` of the build context: so
# `cargo xtask cluster load-images` makes images of what cargo has just built, for the same Debian.

# Which stage has the programs: build or compiled.
ARG BINARIES=build

FROM rust:1.95-bookworm AS build
# Each processor's programs in a cache of their own.
ARG TARGETARCH
WORKDIR /source
COPY . .
# The image's own toolchain: rust-toolchain.toml asks for more, which only development needs.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=tickwire-target-${TARGETARCH},target=/source/target \
    RUSTUP_TOOLCHAIN="${RUST_VERSION}" cargo build --release --locked --package tickwire-server --package tickwire-client --package tickwire-operator \
    && mkdir /programs \
    && for program in tickwire-server tickwire tickwire-operator; do \
           strip -o "/programs/$program" "target/release/$program" || exit 1; \
       done

FROM scratch AS compiled
COPY compiled/ /programs/

FROM ${BINARIES} AS binaries

# What the programs need of a root file system. The libraries are where the loader looks for them, which has the processor's name in it.
FROM debian:bookworm-slim AS rootfs
RUN set -eu; \
    if [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then \
        apt-get update; apt-get install --yes --no-install-recommends ca-certificates; \
    fi; \
    mkdir /rootfs; \
    cp --parents --dereference \
        /etc/ssl/certs/ca-certificates.crt \
        /lib/*-linux-gnu/libc.so.6 /lib/*-linux-gnu/libm.so.6 /lib/*-linux-gnu/libgcc_s.so.1 \
        $(find /lib/ /lib64/ -maxdepth 1 -name 'ld-linux*' 2>/dev/null) \
        /rootfs; \
    echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > /rootfs/etc/passwd; \
    echo 'nonroot:x:65532:' > /rootfs/etc/group; \
    echo 'hosts: files dns' > /rootfs/etc/nsswitch.conf

FROM scratch AS server
COPY --from=rootfs /rootfs /
# The client comes along: it makes the hashes of users' passwords, and shows from inside of a cluster what a server sends.
COPY --from=binaries /programs/tickwire-server /programs/tickwire /usr/local/bin/
USER 65532:65532
ENV PATH=/usr/local/bin
# Clients; probes and metrics.
EXPOSE 21591 21592
ENTRYPOINT ["/usr/local/bin/tickwire-server"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tickwire server" \
      org.opencontainers.image.description="Streams ticks over raw TCP to a hundred thousand long-lived clients" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM scratch AS operator
COPY --from=rootfs /rootfs /
COPY --from=binaries /programs/tickwire-operator /usr/local/bin/
USER 65532:65532
ENV PATH=/usr/local/bin
ENTRYPOINT ["/usr/local/bin/tickwire-operator"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tickwire operator" \
      org.opencontainers.image.description="Runs Tickwire's servers on Kubernetes, as StreamServer resources say" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
