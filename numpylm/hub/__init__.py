"""Published models: their files read into ours, and ours written as theirs.

safetensors_files   arrays by name, of one file or of shards with an index
names               whose array is which: tables read both ways
hugging_face        a folder with config.json
settings            what that file says, entry by entry
llama2c             one .bin file
gguf                one .gguf file, with quantised blocks
"""
