"""What the simulated endpoint says: plausible replies made of whole clauses, chosen by the request alone.

Per language a persona is one of 12 x 12 x 12 x 199 x 39 texts, a conversation turn one of 36. Arabic is
feminine throughout, so that every clause agrees with every other.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split("|"))


@dataclass(frozen=True)
class Phrases:
    """Clauses of one language; `shape` puts a persona together, `gap` stands between sentences."""

    shape: str
    gap: str
    openings: tuple[str, ...]
    middles: tuple[str, ...]
    ends: tuple[str, ...]
    relations: tuple[str, ...]
    asks: tuple[tuple[str, ...], tuple[str, ...]]
    answers: tuple[tuple[str, ...], tuple[str, ...]]


ENGLISH = Phrases(
    shape="{}, {} {}, and who has lived at number {count} of the same street for {years} years",
    gap=" ",
    openings=_split("""a night nurse in a small county hospital | a beekeeper in the hills | a
        shepherd's daughter who runs a cheese stall | a retired teacher of a village school | a mechanic
        who mends fishing boats | a programmer working from a farmhouse | a baker who lights the oven
        before dawn | a biologist who counts wading birds | a bus driver on the suburban lines | a
        lawyer for tenants | a student of literature with two jobs | a potter who inherited a workshop"""),
    middles=_split("""who writes every lesson down in a notebook | who looks for ways to save water at
        home | who cares for an ageing mother at weekends | who collects old maps of the county | who
        sings in the neighbourhood choir on Thursdays | who is preparing for a difficult examination |
        who reads crime novels on the train | who organises walks for the neighbours | who repairs old
        radios in the garage | who is learning the guitar from online lessons | who grows tomatoes on
        the roof | who writes letters to the local newspaper"""),
    ends=_split("""and distrusts promises that sound too easy | and dreams of opening a small library |
        and argues patiently about the town budget | and prefers to listen before giving an opinion |
        and keeps a recipe for every occasion | and fears that the old trades will be lost | and
        compares prices before buying anything | and wants the children to learn other languages | and
        worries about the cost of housing | and enjoys explaining things to others | and misses the sea
        when travelling | and keeps the accounts of a cooperative"""),
    relations=_split("older sister | night-shift colleague | next-door neighbour | former pupil | rival | cleaner"),
    asks=(
        _split("""I have to plan the meals for a village fair on Saturday. | My neighbours want to share
            one garden and cannot agree on the watering. | The bus I take to work has changed its
            timetable. | I found an old radio in the cellar and it still hums. | We are choosing a
            second language for the children at home. | The rent on our workshop goes up in the spring."""),
        _split("""Where should I begin so that nothing important is forgotten? | How would you compare
            the two options fairly? | What would it cost us over a whole year? | Which step is the
            riskiest, and why? | How can I explain it to people who are in a hurry? | What should I
            check before I spend any money?"""),
    ),
    answers=(
        _split("""Start by writing down what you already have and what is missing. | Set the two choices
            side by side and give each point a weight. | Ask the people concerned what they need before
            you settle the details. | Measure for one week, because a guess is usually wrong by half. |
            Divide the work into three small parts and finish the hardest first. | Keep a reserve of ten
            per cent for whatever nobody expected."""),
        _split("""If you tell me the figures, we can go through them step by step. | The local rules may
            differ, so ask at the town hall as well. | That leaves you enough time to change your mind
            before the end of the month. | In short, the cheaper choice is better only if you use it
            every day. | After two or three attempts you will see which way suits you best. | It looks
            slow at first, but it saves you a second trip later."""),
    ),
)

SPANISH = Phrases(
    shape="{}, {} {}; vive en el número {count} de la misma calle desde hace {years} años",
    gap=" ",
    openings=_split("""una enfermera de noche en un hospital comarcal | un apicultor de la sierra | una
        maestra jubilada de una escuela rural | un mecánico de barcos en un puerto pequeño | una
        programadora que trabaja desde su pueblo | un panadero que enciende el horno antes del alba |
        una bióloga que estudia las aves de las marismas | un conductor de autobús de las afueras | una
        abogada que defiende a inquilinos | un estudiante de filología con dos empleos | una alfarera
        que heredó el taller de su abuela | un bombero forestal de la meseta"""),
    middles=_split("""que anota en un cuaderno todo lo que aprende | que busca la manera de ahorrar agua
        en casa | que cuida de su madre los fines de semana | que colecciona mapas antiguos de la
        comarca | que ensaya los jueves con el coro del barrio | que se prepara para un examen difícil |
        que lee novelas policiacas en el tren | que organiza excursiones para los vecinos | que repara
        radios viejas en el garaje | que aprende a tocar la guitarra por internet | que cultiva tomates
        en la azotea | que escribe cartas al periódico local"""),
    ends=_split("""y desconfía de las promesas demasiado fáciles | y sueña con abrir una pequeña
        biblioteca | y discute con paciencia sobre las cuentas del ayuntamiento | y prefiere escuchar
        antes de dar su opinión | y guarda una receta para cada ocasión | y teme que se pierdan los
        oficios de antes | y compara precios antes de comprar cualquier cosa | y quiere que sus hijos
        aprendan otras lenguas | y se preocupa por el precio de la vivienda | y disfruta explicando a
        los demás lo que sabe | y echa de menos el mar cuando viaja | y lleva las cuentas de una
        cooperativa"""),
    relations=_split("hermana mayor | compañero de turno | vecina de abajo | antiguo alumno | rival | limpiadora"),
    asks=(
        _split("""Tengo que organizar las comidas de la feria del pueblo para el sábado. | Mis vecinos
            quieren compartir un huerto y no se ponen de acuerdo con el riego. | El autobús que me lleva
            al trabajo ha cambiado de horario. | He encontrado en el sótano una radio vieja que todavía
            suena. | En casa estamos eligiendo una segunda lengua para los niños. | El alquiler de
            nuestro taller sube en primavera."""),
        _split("""¿Por dónde empiezo para no olvidar nada importante? | ¿Cómo compararías las dos
            opciones de manera justa? | ¿Cuánto nos costaría a lo largo de un año entero? | ¿Qué paso es
            el más arriesgado y por qué? | ¿Cómo se lo explico a gente que siempre tiene prisa? | ¿Qué
            debería comprobar antes de gastar dinero?"""),
    ),
    answers=(
        _split("""Empieza por apuntar lo que ya tienes y lo que te falta. | Pon las dos opciones una al
            lado de la otra y da un peso a cada punto. | Pregunta a los interesados qué necesitan antes
            de fijar los detalles. | Mide durante una semana, porque los cálculos a ojo suelen fallar. |
            Divide el trabajo en tres partes pequeñas y termina primero la más difícil. | Guarda una
            reserva del diez por ciento para lo que nadie espera."""),
        _split("""Si me das las cifras, podemos repasarlas paso a paso. | Las normas locales pueden ser
            distintas, así que pregunta también en el ayuntamiento. | Así te queda tiempo para cambiar
            de idea antes de fin de mes. | En resumen, lo más barato solo compensa si lo usas todos los
            días. | Después de dos o tres intentos verás qué manera te conviene más. | Al principio
            parece lento, pero luego te ahorra un segundo viaje."""),
    ),
)

BASQUE = Phrases(
    shape="{}, {} {}; {years} urte daramatza kale bereko {count} zenbakian bizitzen",
    gap=" ",
    openings=_split("""herri txiki bateko okina da | mendiko eskola bateko irakaslea da | portuko
        itsasontzien mekanikaria da | gaueko txandan lan egiten duen erizaina da | hiri handi bateko
        autobus-gidaria da | etxetik lan egiten duen programatzailea da | baserri bateko artzain gaztea
        da | erretiroa hartu berri duen arotza da | hegaztiak aztertzen dituen biologoa da | auzoko
        liburutegiko arduraduna da | unibertsitatean historia ikasten duen gaztea da | kooperatiba
        bateko kontularia da"""),
    middles=_split("""goizero koaderno batean idazten du ikasitakoa | asteburuetan bere ama zaintzen du
        | ostegunetan auzoko abesbatzan abesten du | inguruko mapa zaharrak biltzen ditu | trenean
        eleberri beltzak irakurtzen ditu | auzokideentzat mendi-irteerak antolatzen ditu | garajean
        irrati zaharrak konpontzen ditu | gitarra jotzen ikasten ari da bere kabuz | etxeko terrazan
        tomateak landatzen ditu | tokiko egunkarira gutunak bidaltzen ditu | etxean ura aurrezteko
        moduak bilatzen ditu | azterketa zail bat prestatzen ari da"""),
    ends=_split("""eta ez du promesa errazegietan sinesten | eta liburu-denda txiki bat ireki nahi luke
        | eta udalaren aurrekontuez eztabaidatzea gustatzen zaio | eta nahiago du entzun hitz egin baino
        lehen | eta errezeta berri bat gordetzen du lagunentzat | eta beldur da antzinako lanbideak
        galduko ote diren | eta prezioak alderatzen ditu ezer erosi aurretik | eta seme-alabek hizkuntza
        gehiago ikastea nahi du | eta etxebizitzaren prezioak kezkatzen du | eta gustura azaltzen die
        besteei dakiena | eta itsasoaren falta sumatzen du kanpoan dagoenean | eta kirol-talde baten
        kontuak eramaten ditu"""),
    relations=_split("ahizpa zaharrena | txandakidea | beheko auzokoa | ikasle ohia | aurkaria | garbitzailea"),
    asks=(
        _split("""Larunbateko herriko azokarako bazkariak antolatu behar ditut. | Auzokoek baratze bat
            partekatu nahi dute, baina ez dira ados jartzen ureztatzeaz. | Lanera joateko hartzen dudan
            autobusak ordutegia aldatu du. | Sotoan irrati zahar bat aurkitu dut, eta oraindik badabil.
            | Etxean bigarren hizkuntza bat aukeratzen ari gara haurrentzat. | Gure lantegiaren
            alokairua garestitu egingo da datorren urtean."""),
        _split("""Nondik hasi behar dut ezer garrantzitsurik ez ahazteko? | Nola alderatuko zenituzke bi
            aukerak zuzen? | Zenbat kostatuko litzaiguke urte oso batean? | Zein urrats da
            arriskutsuena, eta zergatik? | Nola azaldu behar diet hori beti presaka dabiltzan lagunei? |
            Zer egiaztatu behar dut dirua gastatu baino lehen?"""),
    ),
    answers=(
        _split("""Hasteko, idatzi zer duzun dagoeneko eta zer falta zaizun. | Jarri bi aukerak elkarren
            ondoan eta eman puntu bakoitzari pisu bat. | Galdetu inguruko jendeari zer behar duen, eta
            gero erabaki gainerakoa. | Neurtu astebetez, begiz egindako kalkuluek huts egin ohi dute
            eta. | Banatu lana hiru zati txikitan eta amaitu lehenbizi zailena. | Utzi diru pixka bat
            aparte, inork espero ez duen gasturen bat sortzen denerako."""),
        _split("""Zenbakiak ematen badizkidazu, urratsez urrats azter ditzakegu. | Tokiko arauak
            desberdinak izan daitezke; beraz, galdetu udaletxean ere. | Horrela, hilaren amaiera baino
            lehen iritziz aldatzeko denbora izango duzu. | Laburbilduz, merkeena ona da egunero
            erabiltzen baduzu bakarrik. | Bizpahiru saialdiren ondoren ikusiko duzu zer komeni zaizun
            gehien. | Hasieran zaila dela ematen du, baina gero denbora asko aurreztuko duzu."""),
    ),
)

CHINESE = Phrases(
    shape="{}，{}，{}，在这个城市生活了{years}年，认识其中的{count}个人",
    gap="",
    openings=_split("""县城医院里值夜班的护士 | 在山里养蜂的中年人 | 刚退休的乡村小学老师 |
        在小码头修船的师傅 | 在老家远程上班的程序员 | 天不亮就开炉的面包师 | 在湿地观察候鸟的研究员 |
        跑郊区线路的公交司机 | 替租客打官司的律师 | 一边打工一边读中文系的学生 | 继承了外婆作坊的陶艺人
        | 守着林区的消防员"""),
    middles=_split("""每天把学到的东西记在本子上 | 总想着怎样在家里节约用水 | 周末回去照顾年迈的母亲 |
        喜欢收集本地的旧地图 | 每周四参加社区合唱团的排练 | 正在准备一场重要的考试 |
        坐火车时爱看侦探小说 | 常常组织邻居一起去爬山 | 在车库里修理老式收音机 | 跟着网上的课程学弹吉他
        | 在楼顶种了几盆西红柿 | 时不时给本地报纸写信"""),
    ends=_split("""不相信听上去太轻松的承诺 | 盼着有一天开一家小书店 | 对镇上的预算很有自己的看法 |
        习惯先听别人说完再开口 | 遇到客人总能拿出一道新菜 | 担心老手艺会慢慢失传 |
        买东西之前一定要比较价格 | 希望孩子多学几门语言 | 最发愁的是房子的价格 |
        很乐意把自己懂的讲给别人听 | 出门在外总惦记家乡的河 | 还帮合作社管着账目"""),
    relations=_split("大姐 | 夜班搭档 | 楼下的邻居 | 以前的学生 | 竞争对手 | 保洁员"),
    asks=(
        _split("""星期六村里办集市，我要安排大家的午饭。 | 邻居们想合种一块菜地，可是浇水的事总谈不拢。
            | 我上班坐的那路公交车改了时刻表。 | 我在地下室找到一台旧收音机，居然还能响。 |
            我们正在家里商量给孩子选哪一门外语。 | 我们作坊的租金到春天就要涨了。"""),
        _split("""应该从哪里着手，才不会漏掉要紧的事？ | 这两种办法怎样比较才算公平？ |
            一整年算下来要花多少钱？ | 哪一步风险最大，为什么？ | 怎么才能跟着急的人讲清楚？ |
            花钱之前我应该先核对什么？"""),
    ),
    answers=(
        _split("""先把手头已有的和还缺的都写下来。 | 把两种选择并排列出来，给每一项定一个权重。 |
            先问问相关的人需要什么，再定细节。 | 先实际测量一个星期，因为估计往往不准。 |
            把事情分成三小块，先做最难的那一块。 | 留出百分之十的余量，应付谁也没想到的情况。"""),
        _split("""如果你把数字告诉我，我们可以一步一步地算。 |
            各地的规定可能不一样，最好再去镇政府问一问。 | 这样到月底之前你还有时间改主意。 |
            总的来说，只有天天用得上，便宜的那个才划算。 | 试过两三次以后，你就知道哪种办法更适合自己。
            | 开头看起来慢一些，但是以后能省下一趟路。"""),
    ),
)

ARABIC = Phrases(
    shape="{} و{} {}، وتسكن البيت رقم {count} في الحي نفسه منذ {years} عامًا",
    gap=" ",
    openings=_split("""ممرضة تعمل ليلًا في مستشفى صغير | معلمة متقاعدة من مدرسة ريفية | خبازة تفتح فرنها
        قبل الفجر | مهندسة برمجيات تعمل من بيت أهلها | باحثة تدرس طيور السواحل | محامية تدافع عن
        المستأجرين | طالبة تدرس الأدب وتعمل في مقهى | خزافة ورثت ورشة جدتها | سائقة حافلة في ضواحي
        المدينة | مربية نحل في قرية جبلية | محاسبة في جمعية تعاونية | طبيبة بيطرية تتنقل بين المزارع"""),
    middles=_split("""تدوّن كل يوم ما تتعلمه في دفتر صغير | تبحث عن طرق لتوفير الماء في البيت | ترعى
        والدتها في نهاية الأسبوع | تجمع الخرائط القديمة للمنطقة | تتدرب كل خميس مع جوقة الحي | تستعد
        لامتحان مهم في الخريف | تقرأ الروايات البوليسية في القطار | تنظم رحلات قصيرة لجيرانها | تصلح
        أجهزة الراديو القديمة | تتعلم العزف على العود عبر الدروس المصورة | تزرع الطماطم على سطح البناية
        | تكتب رسائل إلى الصحيفة المحلية"""),
    ends=_split("""ولا تثق بالوعود السهلة | وتحلم بأن تفتح مكتبة صغيرة | وتناقش ميزانية البلدية بصبر |
        وتفضل أن تصغي قبل أن تبدي رأيها | وتحتفظ بوصفة جديدة لكل مناسبة | وتخشى أن تضيع الحرف القديمة |
        وتقارن الأسعار قبل أن تشتري أي شيء | وتريد لأولادها أن يتعلموا لغات أخرى | ويقلقها ارتفاع أسعار
        السكن | وتستمتع بشرح ما تعرفه للآخرين | وتشتاق إلى البحر كلما سافرت | وتساعد الجيران في حل
        خلافاتهم"""),
    relations=_split("الأخت الكبرى | زميلة في المناوبة | جارة | تلميذة سابقة | منافسة | عاملة نظافة"),
    asks=(
        _split("""علي أن أرتب وجبات سوق القرية يوم السبت. | يريد جيراني أن يتقاسموا حديقة واحدة ولا
            يتفقون على السقي. | تغيّر موعد الحافلة التي أذهب بها إلى العمل. | وجدت في القبو جهاز راديو
            قديمًا ما زال يعمل. | نختار في البيت لغة ثانية للأطفال. | سترتفع أجرة ورشتنا في الربيع."""),
        _split("""من أين أبدأ حتى لا أنسى شيئًا مهمًا؟ | كيف تقارن بين الخيارين مقارنة عادلة؟ | كم سيكلفنا
            ذلك خلال سنة كاملة؟ | ما الخطوة الأكثر خطورة ولماذا؟ | كيف أشرح الأمر لأناس في عجلة من
            أمرهم؟ | ماذا أتحقق منه قبل أن أنفق المال؟"""),
    ),
    answers=(
        _split("""ابدأ بكتابة ما لديك وما ينقصك. | ضع الخيارين جنبًا إلى جنب وأعط كل نقطة وزنًا. | اسأل
            أصحاب الشأن عما يحتاجون إليه قبل أن تحسم التفاصيل. | قس الأمر أسبوعًا كاملًا لأن التقدير يخطئ
            في الغالب. | قسّم العمل إلى ثلاثة أجزاء صغيرة وأنجز أصعبها أولًا. | احتفظ باحتياطي قدره عشرة
            في المئة لما لا يتوقعه أحد."""),
        _split("""إذا أعطيتني الأرقام راجعناها خطوة خطوة. | قد تختلف القواعد المحلية، فاسأل في البلدية
            أيضًا. | هكذا يبقى لك وقت لتغيير رأيك قبل نهاية الشهر. | باختصار، الخيار الأرخص أفضل إذا
            استعملته كل يوم فقط. | بعد محاولتين أو ثلاث سترى أي طريقة تناسبك أكثر. | يبدو الأمر بطيئًا في
            البداية، لكنه يوفر عليك رحلة ثانية."""),
    ),
)

PHRASES = {"es": SPANISH, "eu": BASQUE, "zh": CHINESE, "ar": ARABIC, "en": ENGLISH}

# Words that only one of the three languages in Latin script has.
_MARKERS = {
    "es": re.compile(r"\b(?:de|que|y|los|las|una|con|para|del|por)\b"),
    "eu": re.compile(r"\b(?:eta|da|du|bat|ez|edo|zer|nork|behar|dira)\b"),
    "en": re.compile(r"\b(?:the|of|and|is|that|with|you|to|what|who)\b"),
    "zh": re.compile(r"[\u4e00-\u9fff]"),
    "ar": re.compile(r"[\u0600-\u06ff]+"),
}
_KEYS = ("theme", "messages", "relation", "persona")


def language_of(text: str) -> str:
    """Guess which of the five languages a prompt is written in; English where nothing tells."""
    lowered = text.lower()
    counts = {lang: len(marker.findall(lowered)) for lang, marker in _MARKERS.items()}
    best = max(counts, key=lambda lang: counts[lang])
    return best if counts[best] else "en"


def reply_to(body: Mapping[str, Any], *, exchanges: int = 0) -> str:
    """Write the reply to a chat-completions request: JSON where a schema or the system prompt names keys.

    `exchanges` is the number of user-assistant pairs of a conversation; 0 leaves it to the schema's
    `minItems`, else 1. The sampling `seed` and the messages choose the text, so that it does not
    change with `max_tokens`.
    """
    messages = body["messages"]
    system = _contents(messages, "system") or _contents(messages, "user")
    phrases = PHRASES[language_of(system)]
    number = _number(messages, body.get("seed"))
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema") or {}
    properties = schema.get("properties") or {key: {} for key in _KEYS if f'"{key}"' in system}
    if not properties:
        return _persona(phrases, number)
    values: dict[str, object] = {}
    for name, given in properties.items():
        spec = schema.get("$defs", {}).get(given["$ref"].rsplit("/", 1)[-1], {}) if "$ref" in given else given
        if name == "messages":
            values[name] = _conversation(phrases, number, exchanges or max(1, spec.get("minItems", 2) // 2))
        elif name == "theme" or "enum" in spec:
            values[name] = spec.get("enum", ["education"])[0]
        elif name == "relation":
            values[name] = phrases.relations[number % len(phrases.relations)]
        else:
            values[name] = _persona(phrases, number)
    return json.dumps(values, ensure_ascii=False)


def _contents(messages: Sequence[Mapping[str, Any]], role: str) -> str:
    return "\n".join(str(message.get("content", "")) for message in messages if message.get("role") == role)


def _number(messages: object, seed: object) -> int:
    canonical = json.dumps([messages, seed], sort_keys=True, ensure_ascii=False)
    return int.from_bytes(hashlib.blake2b(canonical.encode(), digest_size=16).digest(), "big")


def _persona(phrases: Phrases, number: int) -> str:
    chosen = []
    for clauses in (phrases.openings, phrases.middles, phrases.ends):
        number, position = divmod(number, len(clauses))
        chosen.append(clauses[position])
    number, count = divmod(number, 199)
    # From 11 on, the Arabic noun after the number keeps one form.
    text = phrases.shape.format(*chosen, count=count + 1, years=11 + number % 39)
    return text[0].upper() + text[1:]


def _conversation(phrases: Phrases, number: int, exchanges: int) -> list[dict[str, str]]:
    messages = []
    for turn in range(exchanges):
        rest = number
        for role, parts in (("user", phrases.asks), ("assistant", phrases.answers)):
            sentences = []
            for choices in parts:
                rest, position = divmod(rest, len(choices))
                sentences.append(choices[(position + turn) % len(choices)])
            messages.append({"role": role, "content": phrases.gap.join(sentences)})
    return messages
