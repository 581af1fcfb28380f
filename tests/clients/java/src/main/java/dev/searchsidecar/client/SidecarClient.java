package dev.searchsidecar.client;

import dev.searchsidecar.v1.Acknowledgement;
import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Document;
import dev.searchsidecar.v1.DocumentServiceGrpc;
import dev.searchsidecar.v1.FeedbackServiceGrpc;
import dev.searchsidecar.v1.Hit;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.RerankStreamRequest;
import dev.searchsidecar.v1.SearchRequest;
import dev.searchsidecar.v1.SearchServiceGrpc;
import dev.searchsidecar.v1.SearchStreamRequest;
import dev.searchsidecar.v1.UpsertDocumentsRequest;
import dev.searchsidecar.v1.UpsertDocumentsResponse;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
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
  private static final Metadata.Key<String> CALLER =
      Metadata.Key.of("sidecar-caller", Metadata.ASCII_STRING_MARSHALLER);

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
                              Map.of("service", RerankServiceGrpc.SERVICE_NAME),
                              Map.of(
                                  "service", FeedbackServiceGrpc.SERVICE_NAME,
                                  "method", "LogEvents")),
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

  /** A client of the sidecar at {@code target} ("127.0.0.1:50051"). It connects at once. */
  public static SidecarClient connect(String target) {
    var channel =
        ManagedChannelBuilder.forTarget(target)
            .usePlaintext()
            .defaultLoadBalancingPolicy("round_robin")
            .defaultServiceConfig(SERVICE_CONFIG)
            .build();
    // The health stream lives in the Context of whoever opens the connection. Opened by a call, it
    // would end when that call is cancelled, and take the calls of everybody else with it.
    Context.ROOT.run(() -> channel.getState(true));
    return new SidecarClient(channel);
  }

  /** The channel, for the generated stubs. */
  public ManagedChannel channel() {
    return channel;
  }

  /**
   * The channel for calls that count for the share of a caller, one of those that get equal shares
   * of a sidecar that is full.
   */
  public Channel channel(String caller) {
    var headers = new Metadata();
    headers.put(CALLER, caller);
    return ClientInterceptors.intercept(
        channel, MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  /**
   * Ids of documents, best first, as far as the sidecar came within {@code timeout}; {@code own} if
   * it did not come to any ranking.
   */
  public Ranked<String> searchOr(List<String> own, SearchRequest request, Duration timeout) {
    var best = own;
    try {
      var responses =
          SearchServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS)
              .searchStream(SearchStreamRequest.newBuilder().setSearch(request).build());
      while (responses.hasNext()) {
        best = docIds(responses.next().getRanking()); // the whole ranking as of one more stage
      }
      return new Ranked<>(best, null);
    } catch (StatusRuntimeException failure) {
      return new Ranked<>(best, failure); // the last ranking that came is still good
    }
  }

  /**
   * Candidates, best first, as far as the sidecar came within {@code timeout}; {@code own} if it
   * did not come to any ranking.
   */
  public Ranked<Candidate> rerankOr(List<Candidate> own, String query, Duration timeout) {
    var request =
        RerankRequest.newBuilder()
            .setQuery(query)
            .addAllCandidates(own)
            .setOptions(RankingOptions.newBuilder().setTopK(own.size()))
            .build();
    var best = own;
    try {
      var responses =
          RerankServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS)
              .rerankStream(RerankStreamRequest.newBuilder().setRerank(request).build());
      while (responses.hasNext()) {
        best = inOrder(responses.next().getRanking(), own);
      }
      return new Ranked<>(best, null);
    } catch (StatusRuntimeException failure) {
      return new Ranked<>(best, failure);
    }
  }

  /**
   * Reranks candidates by the digests of their texts, and sends again, with its text, each whose
   * text the sidecar does not have (any more). The ranking has all candidates, whatever the
   * request's top_k.
   *
   * @throws StatusRuntimeException as of any call
   */
  public Ranking rerankByDigest(RerankRequest request, Duration timeout) {
    var stub =
        RerankServiceGrpc.newBlockingStub(channel)
            .withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
    var first = Texts.lean(request, Set.of());
    first.getOptionsBuilder().clearMinimumStage(); // not before the texts are there
    var ranking = stub.rerank(first.build()).getRanking();
    var needed = Texts.needed(ranking);
    if (needed.isEmpty()
        && ranking.getStageValue() >= request.getOptions().getMinimumStageValue()) {
      return ranking;
    }
    return stub.rerank(Texts.lean(request, needed).build()).getRanking();
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
        DocumentServiceGrpc.newStub(channel)
            .withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS)
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

  /** The own candidates in the order of a ranking of all of them. */
  private static List<Candidate> inOrder(Ranking ranking, List<Candidate> own) {
    var byId = own.stream().collect(Collectors.toMap(Candidate::getDocId, Function.identity()));
    return docIds(ranking).stream().map(byId::get).toList();
  }
}
