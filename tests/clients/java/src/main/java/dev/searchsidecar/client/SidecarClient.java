package dev.searchsidecar.client;

import dev.searchsidecar.v1.Acknowledgement;
import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Document;
import dev.searchsidecar.v1.DocumentServiceGrpc;
import dev.searchsidecar.v1.Hit;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.RerankStreamRequest;
import dev.searchsidecar.v1.RerankStreamResponse;
import dev.searchsidecar.v1.SearchRequest;
import dev.searchsidecar.v1.SearchServiceGrpc;
import dev.searchsidecar.v1.SearchStreamRequest;
import dev.searchsidecar.v1.SearchStreamResponse;
import dev.searchsidecar.v1.UpsertDocumentsRequest;
import dev.searchsidecar.v1.UpsertDocumentsResponse;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * The thin layer that a Java search service puts between its own code and the sidecar: a channel, a
 * deadline on every call, and the service's own order where the sidecar has no answer in time. Copy
 * it and make it yours. Safe for concurrent use.
 */
public final class SidecarClient implements AutoCloseable {
  private static final int UNACKNOWLEDGED_BATCHES = 4;

  /**
   * Retries what the contract calls safe to retry, and sends nothing to a sidecar that drains.
   * Numbers are doubles because a service config is JSON.
   */
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "healthCheckConfig", Map.of("serviceName", SearchServiceGrpc.SERVICE_NAME),
          "methodConfig",
              List.of(
                  Map.of(
                      "name",
                          List.of(
                              Map.of("service", SearchServiceGrpc.SERVICE_NAME),
                              Map.of("service", RerankServiceGrpc.SERVICE_NAME)),
                      "retryPolicy",
                          Map.of(
                              "maxAttempts", 3.0,
                              "initialBackoff", "0.02s",
                              "maxBackoff", "0.2s",
                              "backoffMultiplier", 2.0,
                              "retryableStatusCodes",
                                  List.of("UNAVAILABLE", "RESOURCE_EXHAUSTED")))));

  private final ManagedChannel channel;

  private SidecarClient(ManagedChannel channel) {
    this.channel = channel;
  }

  /** A client of the sidecar at {@code target} ("127.0.0.1:50051"). It connects on first use. */
  public static SidecarClient connect(String target) {
    return new SidecarClient(
        ManagedChannelBuilder.forTarget(target)
            .usePlaintext()
            .defaultLoadBalancingPolicy("round_robin")
            .defaultServiceConfig(SERVICE_CONFIG)
            .build());
  }

  /** The channel, for the generated stubs. */
  public ManagedChannel channel() {
    return channel;
  }

  /**
   * Ids of documents, best first, as far as the sidecar came within {@code timeout}; {@code own} if
   * it did not come to any ranking.
   */
  public Ranked<String> searchOr(List<String> own, SearchRequest request, Duration timeout) {
    var stub = within(timeout, SearchServiceGrpc.newBlockingStub(channel));
    var search = SearchStreamRequest.newBuilder().setSearch(request).build();
    return lastRanking(own, stub.searchStream(search), SearchStreamResponse::getRanking);
  }

  /**
   * Candidates, best first, as far as the sidecar came within {@code timeout}; as they were if it
   * did not come to any ranking.
   */
  public Ranked<Candidate> rerankOr(List<Candidate> own, String query, Duration timeout) {
    var stub = within(timeout, RerankServiceGrpc.newBlockingStub(channel));
    var request =
        RerankRequest.newBuilder()
            .setQuery(query)
            .addAllCandidates(own)
            .setOptions(RankingOptions.newBuilder().setTopK(own.size()))
            .build();
    var ids = own.stream().map(Candidate::getDocId).toList();
    var rerank = RerankStreamRequest.newBuilder().setRerank(request).build();
    var ranked = lastRanking(ids, stub.rerankStream(rerank), RerankStreamResponse::getRanking);

    var byId = own.stream().collect(Collectors.toMap(Candidate::getDocId, Function.identity()));
    return new Ranked<>(ranked.bestFirst().stream().map(byId::get).toList(), ranked.failure());
  }

  /**
   * Writes batches over one stream and hands on the acknowledgement of each, in order.
   *
   * @throws StatusRuntimeException the batches acknowledged so far are stored, the others are to be
   *     sent again
   */
  public void upsert(
      String collection,
      List<List<Document>> batches,
      Duration timeout,
      Consumer<UpsertDocumentsResponse> onAcknowledged) {
    var window = new Semaphore(UNACKNOWLEDGED_BATCHES);
    var done = new CompletableFuture<Void>();
    var requests =
        within(timeout, DocumentServiceGrpc.newStub(channel))
            .upsertDocuments(
                new StreamObserver<>() {
                  @Override
                  public void onNext(UpsertDocumentsResponse acknowledgement) {
                    onAcknowledged.accept(acknowledgement);
                    window.release();
                  }

                  @Override
                  public void onError(Throwable failure) {
                    done.completeExceptionally(failure);
                    window.release(batches.size());
                  }

                  @Override
                  public void onCompleted() {
                    done.complete(null);
                  }
                });
    for (var documents : batches) {
      window.acquireUninterruptibly();
      if (done.isDone()) {
        break;
      }
      requests.onNext(batch(collection, documents));
    }
    requests.onCompleted();
    try {
      done.join();
    } catch (CompletionException failure) {
      throw (StatusRuntimeException) failure.getCause();
    }
  }

  /** Ids of a ranking's hits, best first. */
  public static List<String> docIds(Ranking ranking) {
    return ranking.getHitsList().stream().map(Hit::getDocId).toList();
  }

  @Override
  public void close() {
    channel.shutdownNow();
  }

  private static UpsertDocumentsRequest batch(String collection, List<Document> documents) {
    return UpsertDocumentsRequest.newBuilder()
        .setCollection(collection)
        .addAllDocuments(documents)
        .setAcknowledgement(Acknowledgement.ACKNOWLEDGEMENT_SEARCHABLE)
        .build();
  }

  /** Each ranking replaces the one before, so after a failure the last that came is still good. */
  private static <R> Ranked<String> lastRanking(
      List<String> own, Iterator<R> responses, Function<R, Ranking> ranking) {
    var bestFirst = own;
    try {
      while (responses.hasNext()) {
        bestFirst = docIds(ranking.apply(responses.next()));
      }
      return new Ranked<>(bestFirst, null);
    } catch (StatusRuntimeException failure) {
      return new Ranked<>(bestFirst, failure);
    }
  }

  private static <S extends AbstractStub<S>> S within(Duration timeout, S stub) {
    return stub.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
  }
}
