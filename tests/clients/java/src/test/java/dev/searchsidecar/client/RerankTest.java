package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.RerankStreamRequest;
import dev.searchsidecar.v1.Stage;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class RerankTest {
  private final SidecarClient client = Sidecar.connect();
  private final RerankServiceGrpc.RerankServiceBlockingStub stub =
      RerankServiceGrpc.newBlockingStub(client.channel());

  @AfterEach
  void close() {
    client.close();
  }

  @Test
  void streamRefinesAndEndsWithTheUnaryRanking() {
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .addAllCandidates(Catalogue.candidates())
            .setOptions(RankingOptions.newBuilder().setTopK(10).setExplain(true))
            .build();
    var frames = frames(request);
    Rankings.checkFrames(
        frames, Stage.STAGE_INPUT, Stage.STAGE_FIRST_RERANK, Stage.STAGE_SECOND_RERANK);

    var asSent = Catalogue.candidates().stream().map(Candidate::getDocId).toList();
    assertEquals(asSent, SidecarClient.docIds(frames.get(0)));
    var last = frames.get(frames.size() - 1);
    Catalogue.checkForTea(last.getHits(0).getDocId());
    Rankings.checkSame(stub.rerank(request).getRanking(), last);
  }

  @Test
  void lexicalSignalIsFusedFirst() {
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .addAllCandidates(Catalogue.candidates())
            .setLexicalSignal(true)
            .build();
    Rankings.checkFrames(
        frames(request), Stage.STAGE_FUSED, Stage.STAGE_FIRST_RERANK, Stage.STAGE_SECOND_RERANK);
  }

  @Test
  void inputIsOrderedByTheCallersScores() {
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .setOptions(RankingOptions.newBuilder().setLastStage(Stage.STAGE_INPUT));
    double score = 0;
    for (var candidate : Catalogue.candidates()) {
      request.addCandidates(candidate.toBuilder().setScore(score++));
    }
    var frames = frames(request.build());
    Rankings.checkFrames(frames, Stage.STAGE_INPUT);
    assertEquals("blanket", frames.get(0).getHits(0).getDocId());
    assertEquals(9.0, frames.get(0).getHits(0).getScore());
  }

  @Test
  void rerankOrGivesEveryCandidateBestFirst() {
    var own = Catalogue.candidates();
    var ranked = client.rerankOr(own, Catalogue.QUERY, Sidecar.PATIENCE);
    assertNull(ranked.failure());
    assertEquals(own.size(), ranked.bestFirst().size());
    assertEquals(new HashSet<>(own), new HashSet<>(ranked.bestFirst()));
    Catalogue.checkForTea(ranked.bestFirst().get(0).getDocId());
  }

  private List<Ranking> frames(RerankRequest request) {
    var frames = new ArrayList<Ranking>();
    stub.rerankStream(RerankStreamRequest.newBuilder().setRerank(request).build())
        .forEachRemaining(response -> frames.add(response.getRanking()));
    return frames;
  }
}
