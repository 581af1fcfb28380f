package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import io.grpc.StatusRuntimeException;
import java.util.ArrayList;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class TextsTest {
  private final SidecarClient client = Sidecar.connect();
  private final RerankServiceGrpc.RerankServiceBlockingStub stub =
      RerankServiceGrpc.newBlockingStub(client.channel());

  @AfterEach
  void close() {
    client.close();
  }

  @Test
  void aTextIsSentOnceAndFoundByItsDigest() {
    var list = new ArrayList<>(Catalogue.candidates());
    var other = list.get(0).getText() + " As sent by the Java client.";
    list.set(0, list.get(0).toBuilder().setText(other).build());
    var request =
        RerankRequest.newBuilder().setQuery(Catalogue.QUERY).addAllCandidates(list).build();
    var byDigest = Texts.lean(request, Set.of()).build();
    var texts = byDigest.getCandidatesList().stream().map(Candidate::getText);
    assertEquals("", texts.collect(Collectors.joining()));
    var needed = Texts.needed(stub.rerank(byDigest).getRanking());
    assertTrue(needed.contains(list.get(0).getDocId()), needed::toString);

    var first = client.rerankByDigest(request, Sidecar.PATIENCE);
    assertEquals(Set.of(), Texts.needed(stub.rerank(byDigest).getRanking()));
    Rankings.checkSame(first, client.rerankByDigest(request, Sidecar.PATIENCE));
    var all = RankingOptions.newBuilder().setTopK(list.size());
    var byText = stub.rerank(request.toBuilder().setOptions(all).build());
    Rankings.checkSame(byText.getRanking(), first);
  }

  @Test
  void aDigestOfAnotherTextIsRefused() {
    var list = Catalogue.candidates();
    var wrong = Texts.digest(list.get(0).getTitle(), list.get(0).getText());
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .addCandidates(list.get(0))
            .addCandidates(list.get(1).toBuilder().setContentDigest(wrong))
            .build();
    var failure = assertThrows(StatusRuntimeException.class, () -> stub.rerank(request));
    RefusalTest.checkBadField("candidates[1].content_digest", Refusal.of(failure));
  }

  @Test
  void callersAreServedAlike() {
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .addAllCandidates(Catalogue.candidates())
            .build();
    var web = RerankServiceGrpc.newBlockingStub(client.channel("web")).rerank(request);
    var batch = RerankServiceGrpc.newBlockingStub(client.channel("batch")).rerank(request);
    Rankings.checkSame(web.getRanking(), batch.getRanking());
  }
}
