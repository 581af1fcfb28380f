package dev.searchsidecar.client;

import com.google.protobuf.ByteString;
import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Hit;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.UnscoredReason;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Set;
import java.util.stream.Collectors;

/** Candidates by the digest of their text, which saves the wire where they come again and again. */
final class Texts {
  private Texts() {}

  /** What the contract calls a candidate's content_digest. */
  static ByteString digest(String title, String text) {
    var read = text.isBlank() ? title : title.isBlank() ? text : title + "\n" + text;
    try {
      var sha256 = MessageDigest.getInstance("SHA-256");
      return ByteString.copyFrom(sha256.digest(read.getBytes(StandardCharsets.UTF_8)));
    } catch (NoSuchAlgorithmException never) {
      throw new AssertionError("every Java has SHA-256", never);
    }
  }

  /** Ids of the hits that wait for their text. */
  static Set<String> needed(Ranking ranking) {
    return ranking.getHitsList().stream()
        .filter(hit -> hit.getUnscoredReason() == UnscoredReason.UNSCORED_REASON_NEEDS_TEXT)
        .map(Hit::getDocId)
        .collect(Collectors.toSet());
  }

  /** The request with digests, with texts for the needed candidates only, for all of its hits. */
  static RerankRequest.Builder lean(RerankRequest request, Set<String> needed) {
    var lean = request.toBuilder();
    lean.getCandidatesBuilderList().forEach(candidate -> lean(candidate, needed));
    lean.getOptionsBuilder().setTopK(request.getCandidatesCount());
    return lean;
  }

  private static void lean(Candidate.Builder candidate, Set<String> needed) {
    candidate.setContentDigest(digest(candidate.getTitle(), candidate.getText()));
    if (!needed.contains(candidate.getDocId())) {
      candidate.clearTitle().clearText();
    }
  }
}
