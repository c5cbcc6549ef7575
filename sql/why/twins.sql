-- The kept personas of other languages that mean the same, whichever side has listed the pair.
select twin.lang, twin.persona_id, max(twin.cosine) as cosine, any_value(kept.persona) as persona
from (
    select twin_lang as lang, twin_id as persona_id, cosine from crosslingual_twins where persona_id = $id
    union all
    select lang, persona_id, cosine from crosslingual_twins where twin_id = $id
) as twin
join deduped_personas as kept using (lang, persona_id)
group by twin.lang, twin.persona_id
order by cosine desc, twin.lang, twin.persona_id
limit 20;
