import pytest

from sidecar.models.language import detect_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("how long to boil eggs", "en"),
        ("iPhone 15", "en"),
        ("鸡蛋要煮多久", "zh"),
        ("iPhone 手机壳 透明", "zh"),
        ("卵を茹でる時間", "ja"),
        ("ラーメン", "ja"),
        ("달걀 삶는 시간", "ko"),
        ("сколько варить яйца", "ru"),
        ("كم من الوقت لسلق البيض", "ar"),
        ("πόση ώρα", "el"),
        ("अंडे उबालना", "hi"),
        ("12.5 - 13 !?", ""),
        ("", ""),
        ("😀 2024", ""),
    ],
)
def test_the_script_tells(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_only_the_start_of_a_long_text_is_read() -> None:
    assert detect_language("egg " * 100_000 + "蛋" * 1_000_000) == "en"
