package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.searchsidecar.v1.CachePolicy;
import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.RerankStreamRequest;
import dev.searchsidecar.v1.SearchRequest;
import dev.searchsidecar.v1.Stage;
import dev.searchsidecar.v1.StageReason;
import dev.searchsidecar.v1.StageReport;
import dev.searchsidecar.v1.StageState;
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
  void minimumStageIsReachedOrTheCallFails() {
    var wanted =
        RankingOptions.newBuilder()
            .setMinimumStage(Stage.STAGE_SECOND_RERANK)
            .setCache(CachePolicy.CACHE_POLICY_BYPASS);
    var request = manyCandidates().toBuilder().setOptions(wanted).build();
    assertEquals(Stage.STAGE_SECOND_RERANK, stub.rerank(request).getRanking().getStage());
    var hurried = stub.withDeadlineAfter(30, TimeUnit.MILLISECONDS);
    var failure = assertThrows(StatusRuntimeException.class, () -> hurried.rerank(request));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, failure.getStatus().getCode());
  }

  @Test
  void whatADegradedRankingLacksIsSaid() {
    var complete =
        StageReport.newBuilder()
            .setStage(Stage.STAGE_FIRST_RERANK)
            .setState(StageState.STAGE_STATE_COMPLETE);
    var partial =
        StageReport.newBuilder()
            .setStage(Stage.STAGE_SECOND_RERANK)
            .setState(StageState.STAGE_STATE_PARTIAL)
            .setReason(StageReason.STAGE_REASON_DEADLINE)
            .setCandidatesIn(50)
            .setCandidatesOut(16);
    var ranking = Ranking.newBuilder().addStages(complete).addStages(partial);
    assertEquals(List.of(), Degraded.missing(ranking.build()));
    assertEquals(
        List.of("SECOND_RERANK PARTIAL 16 of 50: DEADLINE"),
        Degraded.missing(ranking.setDegraded(true).build()));
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
    assertEquals(timeWasShort, !Degraded.missing(ranking).isEmpty(), ranking::toString);
    for (var report : ranking.getStagesList()) {
      if (report.getState() == StageState.STAGE_STATE_PARTIAL) {
        assertTrue(report.getCandidatesOut() >= 1, ranking::toString);
        assertTrue(report.getCandidatesOut() < report.getCandidatesIn(), ranking::toString);
        assertTrue(ranking.getStageValue() >= report.getStageValue(), ranking::toString);
      }
    }
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
