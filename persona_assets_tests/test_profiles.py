"""Profiles: typed, closed to unknown keys, and extendable by a user's own file."""

from pathlib import Path

import pytest

from persona_assets.errors import LanguageError, ProfileError
from persona_assets.languages import language, languages, parse_codes
from persona_assets.settings import available_profiles, known_keys, load_profile


@pytest.mark.parametrize("name", available_profiles())
def test_a_bundled_profile_is_valid_and_bears_its_file_name(name: str) -> None:
    assert load_profile(name).name == name


def test_the_mpersonas_profile_has_the_values_of_the_dataset_card() -> None:
    profile = load_profile("mpersonas")
    assert (profile.filters.language_model, profile.filters.min_language_score) == ("glotlid", 0.5)
    assert (profile.dedup.jaccard, profile.dedup.permutations) == (0.7, 128)
    assert (profile.dedup.embedder, profile.dedup.cosine) == ("labse", 0.85)


def test_the_personahub_profile_takes_six_hops_and_removes_at_nine_tenths() -> None:
    profile = load_profile("personahub")
    assert profile.expansion.hops == 6
    assert (profile.dedup.jaccard, profile.dedup.cosine) == (0.9, 0.9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[dedup]\njacard = 0.8", "unknown key 'dedup.jacard'; did you mean 'dedup.jaccard'?"),
        ("[dedupe]\njaccard = 0.8", "unknown key 'dedupe'; did you mean 'dedup'?"),
        ('[dedup]\njaccard = "high"', "dedup.jaccard"),
        ("[dedup]\njaccard = 1.5", "dedup.jaccard"),
        ("[dedup]\njaccard = 0.4", "floor"),
        ("[seeds]\nmin_chars = 99999", "min_chars"),
        ("[llm\n", "not valid TOML"),
        ('extends = "mpersona"', "did you mean 'mpersonas'?"),
    ],
)
def test_a_faulty_profile_gives_one_line_that_names_the_fault(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_profile_inherits_what_it_does_not_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "mpersonas"\n[dedup]\ncosine = 0.9\n', encoding="utf-8")
    mine, base = load_profile(str(path)), load_profile("mpersonas")
    assert mine.name == "mine"
    assert mine.dedup.cosine == 0.9
    assert mine.dedup.jaccard == base.dedup.jaccard
    assert mine.llm == base.llm


def test_profiles_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f'extends = "{tmp_path}/b.toml"', encoding="utf-8")
    (tmp_path / "b.toml").write_text(f'extends = "{tmp_path}/a.toml"', encoding="utf-8")
    with pytest.raises(ProfileError, match="circle"):
        load_profile(str(tmp_path / "a.toml"))


def test_an_override_sets_one_knob_and_is_validated_like_a_file() -> None:
    assert load_profile("demo", {"seeds.limit": 7}).seeds.limit == 7
    with pytest.raises(ProfileError, match=r"seeds\.limit"):
        load_profile("demo", {"seeds.limit": 0})


def test_a_fingerprint_changes_with_the_knobs_it_covers_and_no_others() -> None:
    base, changed = load_profile("demo"), load_profile("demo", {"filters.min_language_score": 0.6})
    assert base.fingerprint("filters") != changed.fingerprint("filters")
    assert base.fingerprint("dedup") == changed.fingerprint("dedup")
    assert base.fingerprint("llm.model") == load_profile("demo", {"llm.concurrency": 3}).fingerprint("llm.model")


def test_every_knob_is_known_by_its_dotted_key() -> None:
    assert {"extends", "dedup.jaccard", "llm.base_url", "seeds.per_domain"} <= set(known_keys())


def test_an_unknown_language_names_the_nearest_known_one() -> None:
    with pytest.raises(LanguageError, match="did you mean 'es'"):
        language("spanisch")
    with pytest.raises(LanguageError, match="known are es"):
        parse_codes("es,qq")


def test_languages_are_found_by_code_or_name_in_the_order_asked_for() -> None:
    assert parse_codes("zh, Spanish ,zh") == ["zh", "es"]
    assert parse_codes(None) == list(languages())
