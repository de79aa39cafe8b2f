# For those who build with a container engine; `make image` needs none, and is what a release is made of (docs/images.md).
#
#   docker build --target api -t letmepost/api:VERSION .
#   docker build --target controller -t letmepost/controller:VERSION .
#   docker build --target gate -t letmepost/gate:VERSION .
#
# VERSION is the appVersion of charts/letmepost-operator/Chart.yaml: the tag that the chart asks for.
# The files are those of `make image`: the same program writes them, with its flags and its checks. hack/image has a test
# that the lines below agree with it.

# The Go version decides the bytes. To trust no tag, pin it: golang:1.26.8@sha256:...
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /var/build/letmepost-operator
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
RUN for image in controller api gate; do \
        go run ./hack/image -image $image -platform $TARGETOS/$TARGETARCH -rootfs /var/build/$image || exit 1; \
    done

FROM scratch AS controller
COPY --from=build /var/build/controller/ /
LABEL org.opencontainers.image.title="letmepost controller" \
      org.opencontainers.image.description="Mints API keys from ApiKey resources of a Kubernetes cluster, once each, and keeps only their hashes." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/letmepost/letmepost-operator" \
      org.opencontainers.image.documentation="https://docs.letmepost.dev"
USER 65532:65532
WORKDIR /
EXPOSE 8080/tcp 8081/tcp
ENTRYPOINT ["/controller"]

FROM scratch AS api
COPY --from=build /var/build/api/ /
LABEL org.opencontainers.image.title="letmepost API" \
      org.opencontainers.image.description="Serves letmepost's HTTP API for one environment, to the keys of that environment." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/letmepost/letmepost-operator" \
      org.opencontainers.image.documentation="https://docs.letmepost.dev"
USER 65532:65532
WORKDIR /
EXPOSE 8080/tcp 9090/tcp
ENTRYPOINT ["/api"]

FROM scratch AS gate
COPY --from=build /var/build/gate/ /
LABEL org.opencontainers.image.title="letmepost gate" \
      org.opencontainers.image.description="Tells proxies who may pass, by letmepost's API keys." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/letmepost/letmepost-operator" \
      org.opencontainers.image.documentation="https://docs.letmepost.dev"
USER 65532:65532
WORKDIR /
EXPOSE 8080/tcp 9000/tcp 9090/tcp
ENTRYPOINT ["/gate"]
