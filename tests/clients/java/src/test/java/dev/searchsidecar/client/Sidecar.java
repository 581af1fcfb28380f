package dev.searchsidecar.client;

import java.time.Duration;

/** The running sidecar that the tests call. */
final class Sidecar {
  /** Bounds a call that is expected to answer; not what a search service would wait. */
  static final Duration PATIENCE = Duration.ofMinutes(1);

  private Sidecar() {}

  static SidecarClient connect() {
    var address = System.getenv("SIDECAR_ADDRESS");
    if (address == null || address.isEmpty()) {
      throw new IllegalStateException(
          "SIDECAR_ADDRESS is not set: give it the HOST:PORT of a running `sidecar serve`");
    }
    return SidecarClient.connect(address);
  }
}
