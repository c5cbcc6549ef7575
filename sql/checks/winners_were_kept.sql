-- The persona kept in place of a duplicate passed the same method: it was kept, or lost by a later one.
select loser.loser_id, loser.winner_id
from duplicate_personas as loser
left join deduped_personas as kept on kept.lang = loser.lang and kept.persona_id = loser.winner_id
left join duplicate_personas as later
    on later.lang = loser.lang
    and later.loser_id = loser.winner_id
    and loser.method = 'minhash'
    and later.method = 'embedding'
where loser.lang = $lang and kept.persona_id is null and later.loser_id is null;
