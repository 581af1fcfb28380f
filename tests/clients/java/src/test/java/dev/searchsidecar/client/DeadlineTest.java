package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.RerankStreamRequest;
import dev.searchsidecar.v1.SearchRequest;
import dev.searchsidecar.v1.Stage;
import dev.searchsidecar.v1.StageReason;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class DeadlineTest {
  private static final RankingOptions INPUT_ONLY =
      RankingOptions.newBuilder().setLastStage(Stage.STAGE_INPUT).build();

  private final SidecarClient client = Sidecar.connect();
  private final RerankServiceGrpc.RerankServiceBlockingStub stub =
      RerankServiceGrpc.newBlockingStub(client.channel());

  @AfterEach
  void close() {
    client.close();
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 30, 150})
  void shortDeadlineIsKeptOrTheAnswerSaysWhatIsMissing(long milliseconds) {
    try {
      var hurried = stub.withDeadlineAfter(milliseconds, TimeUnit.MILLISECONDS);
      checkDegradation(hurried.rerank(manyCandidates()).getRanking());
    } catch (StatusRuntimeException failure) {
      assertEquals(Status.Code.DEADLINE_EXCEEDED, failure.getStatus().getCode());
    }
  }

  @Test
  void cancelEndsTheStreamAndLeavesTheServerFree() throws Exception {
    stub.rerank(manyCandidates().toBuilder().setOptions(INPUT_ONLY).build()); // connected from here
    var context = Context.current().withCancellation();
    var request = RerankStreamRequest.newBuilder().setRerank(manyCandidates()).build();
    var responses = context.call(() -> stub.rerankStream(request));
    responses.next();
    context.cancel(null);
    var failure =
        assertThrows(
            StatusRuntimeException.class, () -> responses.forEachRemaining(response -> {}));
    assertEquals(Status.Code.CANCELLED, failure.getStatus().getCode());
    assertNull(
        client.rerankOr(Catalogue.candidates(), Catalogue.QUERY, Sidecar.PATIENCE).failure());
  }

  @Test
  void rerankOrKeepsTheOwnOrderWhenNoTimeIsLeft() {
    var own = Catalogue.candidates();
    var ranked = client.rerankOr(own, Catalogue.QUERY, Duration.ZERO);
    assertEquals(own, ranked.bestFirst());
    assertEquals(Status.Code.DEADLINE_EXCEEDED, ranked.failure().getStatus().getCode());
  }

  @Test
  void rerankOrKeepsTheOwnOrderWhenNobodyListens() throws IOException {
    var own = Catalogue.candidates();
    try (var unreachable = SidecarClient.connect("127.0.0.1:" + closedPort())) {
      var ranked = unreachable.rerankOr(own, Catalogue.QUERY, Sidecar.PATIENCE);
      assertEquals(own, ranked.bestFirst());
      assertEquals(Status.Code.UNAVAILABLE, Refusal.of(ranked.failure()).code());
    }
  }

  @Test
  void searchOrKeepsTheOwnOrderWithoutAnAnswer() {
    var own = List.of("tent", "blanket");
    var request =
        SearchRequest.newBuilder()
            .setCollection("no-such-collection")
            .setQuery(Catalogue.QUERY)
            .build();
    var ranked = client.searchOr(own, request, Sidecar.PATIENCE);
    assertEquals(own, ranked.bestFirst());
    assertEquals(Status.Code.NOT_FOUND, ranked.failure().getStatus().getCode());
  }

  /** A ranking is degraded exactly when the time was short for a stage. */
  private static void checkDegradation(Ranking ranking) {
    var timeWasShort =
        ranking.getStagesList().stream()
            .anyMatch(report -> report.getReason() == StageReason.STAGE_REASON_DEADLINE);
    assertEquals(timeWasShort, ranking.getDegraded(), ranking::toString);
  }

  /** A list whose reranking takes a while. */
  private static RerankRequest manyCandidates() {
    var products = Catalogue.candidates();
    var many = new ArrayList<Candidate>();
    for (int i = 0; i < 400; i++) {
      var product = products.get(i % products.size());
      many.add(
          product.toBuilder()
              .setDocId(product.getDocId() + "-" + i)
              .setText("Model " + i + ". " + (product.getText() + " ").repeat(8))
              .build());
    }
    return RerankRequest.newBuilder().setQuery(Catalogue.QUERY).addAllCandidates(many).build();
  }

  private static int closedPort() throws IOException {
    try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return socket.getLocalPort();
    }
  }
}
