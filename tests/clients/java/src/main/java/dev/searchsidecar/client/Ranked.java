package dev.searchsidecar.client;

import io.grpc.StatusRuntimeException;
import java.util.List;

/**
 * What a search service shows, best first.
 *
 * @param bestFirst good to be shown, whatever went wrong
 * @param failure why the sidecar came no further, for the log; null if nothing went wrong
 */
public record Ranked<T>(List<T> bestFirst, StatusRuntimeException failure) {}
