import pytest

from persona_assets.dedup.shingles import shingles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A baker, a BAKER from Vic", ["a", "baker", "from", "vic"]),
        ("l'aigua l’aigua lʼaigua", ["l", "aigua"]),
        ("well-known col·lecció", ["well", "known", "col", "lecció"]),
        ("Straße STRASSE", ["strasse"]),
        ("ﬁne Ⅷ ｆｕｌｌ", ["fine", "viii", "full"]),
        ("İyi iyi", ["iyi"]),
        ("हिन्दी में लिखा", ["हिन्दी", "में", "लिखा"]),
        ("أَعْرَبَ أعرب أعـــرب", ["أعرب"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("我爱iPhone手机，很好", ["我爱", "iphone", "手机", "很好"]),
        ("我", ["我"]),
        ("コーヒー ｺｰﾋｰ", ["コー", "ーヒ", "ヒー"]),
        ("Señor 山田太郎 de Kyoto", ["señor", "山田", "田太", "太郎", "de", "kyoto"]),
        ("co\u00adoperate zero\u200bwidth", ["cooperate", "zero", "width"]),
        ("2024 snake_case 3.5", ["2024", "snake", "case", "3", "5"]),
    ],
)
def test_text_is_cut_by_the_written_rule(text, expected):
    assert shingles(text, "words") == expected
    assert shingles(text, "han") == expected


@pytest.mark.parametrize("text", ["", " \n\t", "...!?", "😀👍🏽👨‍👩‍👧", "\u0301\u0302", "\ufe0f", "\ud800"])
def test_text_without_letters_or_digits_has_no_shingles(text):
    assert shingles(text, "words") == []


def test_composed_and_decomposed_spellings_give_the_same_shingles():
    for composed, decomposed in [
        ("é", "e\u0301"),
        ("が", "か\u3099"),
        ("أ", "ا\u0654"),
        ("각", "\u1100\u1161\u11a8"),
    ]:
        assert shingles(composed, "words") == shingles(decomposed, "words") == [composed]
